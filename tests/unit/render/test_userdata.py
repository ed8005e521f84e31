from __future__ import annotations

import email
import email.policy
import subprocess
from pathlib import Path

import pytest

from soci_bootstrap.errors import UsageError
from soci_bootstrap.render import render
from soci_bootstrap.render.kinds.userdata import LIMIT, RESERVED
from soci_bootstrap.render.request import Document
from tests.support.render_requests import ARGUMENTS, DIGEST, NODE_CONFIG, URL, make, merged_by_karpenter


def parts(text: str) -> list[tuple[str, str]]:
    message = email.message_from_string(text, policy=email.policy.default)
    assert not message.defects
    return [(part.get_content_type(), part.get_payload()) for part in message.iter_parts()]


def run_shell(
    script: str, shell: str = "dash", status: int = 0, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shell],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", "STUB_STATUS": str(status)},
    )


def test_the_shell_part_stands_alone_unless_a_node_config_is_asked_for() -> None:
    assert [kind for kind, _ in parts(render(make("userdata")))] == ["text/x-shellscript"]


def test_the_node_config_part_follows_the_shell_part() -> None:
    found = parts(render(make("userdata", node_config=NODE_CONFIG)))
    assert [kind for kind, _ in found] == ["text/x-shellscript", "application/node.eks.aws"]
    assert found[1][1].strip() == NODE_CONFIG.strip()


def test_a_part_has_only_a_content_type_and_no_encoding() -> None:
    message = email.message_from_string(render(make("userdata", ARGUMENTS, node_config=NODE_CONFIG)))
    for part in message.get_payload():
        assert part.keys() == ["Content-Type"]


def test_no_carriage_return_survives() -> None:
    assert "\r" not in render(make("userdata", node_config="spec: {}\r\nkind: NodeConfig\r\n"))


def test_the_url_and_the_digest_are_pinned() -> None:
    text = render(make("userdata"))
    assert URL in text
    assert DIGEST in text


@pytest.mark.parametrize("node_config", [None, NODE_CONFIG.replace("\n", "\r\n")])
def test_karpenters_merge_keeps_our_parts_as_they_are(node_config: str | None) -> None:
    text = render(make("userdata", ("--mirror", "/m/-- // --//"), node_config=node_config))
    ours = [(kind, body.strip()) for kind, body in parts(text)]
    merged = [(kind, body.strip()) for kind, body in parts(merged_by_karpenter(text))]
    assert merged[:-1] == ours
    assert merged[-1][1].startswith("# Karpenter Generated NodeConfig\n")


def padded(size: int, **kwargs: str) -> Document:
    """A request whose userData is ``size`` bytes."""
    empty = len(render(make("userdata", node_config="x", **kwargs)))
    return make("userdata", node_config="x" * (size - empty + 1), **kwargs)


def test_user_data_at_the_limit_is_rendered_and_over_it_refused_with_its_size() -> None:
    assert len(render(padded(LIMIT))) == LIMIT
    with pytest.raises(UsageError, match=f"would be {LIMIT + 1} bytes: EC2 takes {LIMIT}"):
        render(padded(LIMIT + 1))


def test_room_is_left_for_the_part_that_is_added_at_launch() -> None:
    stub = "#!/bin/sh\n" + "# padding\n" * ((LIMIT - RESERVED) // 10)
    with pytest.raises(UsageError, match=f"of which {RESERVED} are kept"):
        render(make("userdata", stub=stub))
    render(make("userdata", stub=stub, node_config="kind: NodeConfig"))


def test_a_part_that_holds_the_boundary_is_refused() -> None:
    with pytest.raises(UsageError, match="boundary"):
        render(make("userdata", node_config="--SOCI-BOOTSTRAP--\n"))


@pytest.mark.subprocess
@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_shell_part_reports_the_status_and_ends_0(shell: str, status: int) -> None:
    done = run_shell(parts(render(make("userdata")))[0][1], shell, status)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"soci-bootstrap: install ended with status {status}"


@pytest.mark.subprocess
def test_arguments_reach_the_stub_as_they_were_given() -> None:
    arguments = ("--set", "a=$(touch x)", "--mirror", "it's `here`; exit 1")
    done = run_shell(parts(render(make("userdata", arguments)))[0][1])
    assert done.stdout.splitlines()[0] == f"{URL} {DIGEST} install {' '.join(arguments)}"


@pytest.mark.subprocess
def test_a_shell_part_cut_short_runs_nothing() -> None:
    script = parts(render(make("userdata")))[0][1]
    end = script.rindex("\n)\n")
    for length in range(0, end + 1, 7):
        assert run_shell(script[:length]).stdout == ""


@pytest.mark.subprocess
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "part.sh"
    path.write_text(parts(render(make("userdata", ARGUMENTS)))[0][1])
    done = subprocess.run(
        ["shellcheck", "-s", "sh", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_nothing_but_comments_stands_outside_the_subshell() -> None:
    before, rest = parts(render(make("userdata")))[0][1].split("\n{\n(\n", 1)
    after = rest.rsplit("\n)\n", 1)[1]
    assert all(line.startswith("#") for line in before.splitlines())
    assert after == 'echo "soci-bootstrap: install ended with status $?"\n} || :\n'
