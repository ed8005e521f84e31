"""cloud-init's own modules take the rendered userData apart, and write the script that they would run.

They come from the system, or from a root of the node lab. ``CLOUD_INIT_PYTHON`` names another
Python that has them.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from soci_bootstrap.render import render
from soci_bootstrap.render.kinds.userdata import shell_part
from soci_bootstrap.render.request import Document
from tests.support.render_requests import ARGUMENTS, NODE_CONFIG, make, merged_by_karpenter

pytestmark = pytest.mark.subprocess

# Reads userData on stdin; prints the parts' types, and the script with its mode, as JSON.
TAKE_APART = """
import json, os, sys, tempfile
from cloudinit import handlers, user_data, util
from cloudinit.handlers.shell_script import ShellScriptPartHandler

class Paths:
    def get_ipath_cur(self, name):
        return directory

    get_cpath = get_ipath_cur

with tempfile.TemporaryDirectory() as directory:
    message = user_data.UserDataProcessor(Paths()).process(sys.stdin.buffer.read())
    types, scripts = [], []
    handler = ShellScriptPartHandler(Paths())
    for part in message.walk():
        if part.is_multipart():
            continue
        types.append(part.get_content_type())
        if types[-1] == "text/x-shellscript":
            payload = util.fully_decoded_payload(part)
            handler.handle_part(None, types[-1], "part-001", payload, None)
            path = os.path.join(directory, "part-001")
            scripts.append([open(path, newline="").read(), os.stat(path).st_mode & 0o777])
print(json.dumps([types, scripts]))
"""


# The cached root is the lower layer of running nodes: nothing may be written into it.
IN_ROOT = 'mount -t tmpfs scratch "$0/tmp" && exec chroot "$0" "$@"'


def candidates() -> list[list[str]]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soci-bootstrap"
    found = [["/usr/bin/python3"]]
    if os.geteuid() == 0:
        enter = ["unshare", "--mount", "sh", "-c", IN_ROOT]
        found += [
            [*enter, str(root), "/usr/bin/python3", "-B"] for root in sorted(cache.glob("roots/*/root"))
        ]
    if os.environ.get("CLOUD_INIT_PYTHON"):
        found.insert(0, shlex.split(os.environ["CLOUD_INIT_PYTHON"]))
    return found


@pytest.fixture(scope="module")
def cloud_init() -> list[str]:
    for python in candidates():
        done = subprocess.run(
            [*python, "-c", "import cloudinit.user_data"], capture_output=True, check=False, timeout=60
        )
        if done.returncode == 0:
            return python
    pytest.skip("no Python here has cloud-init's modules")


@pytest.mark.parametrize(
    ("request_", "types"),
    [
        (make("userdata", ARGUMENTS), ["text/x-shellscript"]),
        (
            make("userdata", ARGUMENTS, node_config=NODE_CONFIG),
            ["text/x-shellscript", "application/node.eks.aws"],
        ),
    ],
)
@pytest.mark.parametrize("karpenter", [False, True])
def test_cloud_init_finds_the_parts_and_the_whole_script(
    request_: Document, types: list[str], cloud_init: list[str], karpenter: bool
) -> None:
    text = render(request_)
    if karpenter:
        text, types = merged_by_karpenter(text), [*types, "application/node.eks.aws"]
    done = subprocess.run(
        [*cloud_init, "-c", TAKE_APART],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found, scripts = json.loads(done.stdout)
    assert found == types
    ((script, mode),) = scripts
    assert script.strip() == shell_part(request_).strip()
    assert script.startswith("#!/bin/sh\n")
    assert mode == 0o700
