"""What is rendered, with the real stub in it: sizes, and the stub doing what `render` counts on."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from soci_bootstrap.render import render
from soci_bootstrap.render.kinds.userdata import shell_part
from soci_bootstrap.render.request import Document, bake_script
from soci_bootstrap.settings.commands import KINDS
from tests.support.render_requests import ARGUMENTS, make

STUB = (Path(__file__).parents[3] / "scripts" / "bootstrap.sh").read_text()

# Stands for the zipapp: tells its arguments, and ends as it is told.
ZIPAPP = "import os, sys; print(*sys.argv[1:], sep='|'); sys.exit(int(os.environ['AGENT_STATUS']))"


def test_user_data_is_at_most_6_kib() -> None:
    assert len(render(make("userdata", ARGUMENTS, stub=STUB)).encode()) <= 6 * 1024


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_carry_the_stub(kind: str) -> None:
    text = render(make(kind, ARGUMENTS, stub=STUB))
    assert text.isascii()
    assert "\r" not in text


@pytest.fixture
def pinned(tmp_path: Path) -> Document:
    if not os.access("/run", os.W_OK):
        pytest.skip("the stub works below /run, which only root may write")
    zipapp = tmp_path / "soci-bootstrap.pyz"
    zipapp.write_text(ZIPAPP)
    request = make("userdata", ("--set", "a=b c"), stub=STUB)
    digest = hashlib.sha256(ZIPAPP.encode()).hexdigest()
    return dataclasses.replace(request, zipapp_url=f"file://{zipapp}", zipapp_sha256=digest)


def run(
    script: str, status: int, shell: Sequence[str] = ("sh",), path: str = "/usr/bin:/bin"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shell,
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": path, "AGENT_STATUS": str(status)},
    )


@pytest.mark.subprocess
@pytest.mark.parametrize("status", [0, 1, 2])
def test_user_data_runs_install_reports_and_ends_0(pinned: Document, status: int) -> None:
    done = run(shell_part(pinned), status)
    arguments, report = done.stdout.splitlines()
    assert arguments.startswith("install|--set|a=b c")
    assert report == f"soci-bootstrap: install ended with status {status}"
    assert done.returncode == 0


@pytest.mark.subprocess
@pytest.mark.parametrize("status", [0, 1, 2])
def test_an_image_build_runs_bake_and_ends_with_its_status(pinned: Document, status: int) -> None:
    done = run(bake_script(pinned), status)
    assert done.stdout.startswith("bake|--set|a=b c")
    assert done.returncode == status


SET_E = """\
set -o errexit -o nounset
# Debian's dash has no pipefail.
if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi
IFS='
	'
{}
echo reached
"""


@pytest.mark.subprocess
@pytest.mark.parametrize("shell", [["bash"], ["dash"], ["busybox", "sh"]], ids=lambda shell: shell[0])
@pytest.mark.parametrize("case", ["0", "2", "digest", "absent", "stalls"])
def test_a_strict_script_around_the_shell_part_goes_on(
    pinned: Document, tmp_path: Path, shell: list[str], case: str
) -> None:
    if case == "digest":
        pinned = dataclasses.replace(pinned, zipapp_sha256="00" * 32)
    elif case == "absent":
        pinned = dataclasses.replace(pinned, zipapp_url="file:///nowhere/agent.pyz")
    elif case == "stalls":
        (tmp_path / "aws").write_text("#!/bin/sh\nexec sleep 30\n")
        (tmp_path / "aws").chmod(0o755)
        pinned = dataclasses.replace(pinned, zipapp_url="s3://bucket/key", arguments=("--deadline", "1"))
    done = run(
        SET_E.format(shell_part(pinned)),
        int(case) if case.isdigit() else 0,
        shell,
        f"{tmp_path}:/usr/bin:/bin",
    )
    assert done.returncode == 0
    *_, report, reached = done.stdout.splitlines()
    assert report == f"soci-bootstrap: install ended with status {case if case.isdigit() else 2}"
    assert reached == "reached"
    assert case.isdigit() or done.stderr.startswith("soci-bootstrap: ERROR ")


@pytest.mark.subprocess
def test_another_digest_than_the_pinned_one_runs_nothing(pinned: Document) -> None:
    wrong = dataclasses.replace(pinned, zipapp_sha256="00" * 32)
    done = run(shell_part(wrong), 0)
    assert done.stdout == "soci-bootstrap: install ended with status 2\n"
    assert pinned.zipapp_sha256 in done.stderr
    assert "00" * 32 in done.stderr
    assert run(bake_script(wrong), 0).returncode == 1
