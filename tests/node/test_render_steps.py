"""The steps of rendered SSM and Image Builder documents, run on a node with the real zipapp."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.node.lab.eks import Ami, eks_node
from tests.node.lab.mirror import HOST, Mirror
from tests.node.lab.node import Node
from tests.node.lab.soci import build
from tests.node.zipapp import ZIPAPP, zipapp

URL = f"https://{HOST}:8443"
AGENT = "/usr/local/sbin/soci-bootstrap"


@pytest.fixture
def node() -> Iterator[Node]:
    """Booted without us, with the release and the zipapp on the mirror."""
    with eks_node(Ami("bullseye")) as made, Mirror(made) as mirror:
        mirror.release(build.release())
        mirror.put("soci-bootstrap.pyz", zipapp())
        yield made.boot()


def document(kind: str, tmp_path: Path) -> dict[str, Any]:
    """What the zipapp that the node fetches renders."""
    program = tmp_path / ZIPAPP.name
    program.write_bytes(zipapp())
    pinned = (
        "--zipapp-url",
        f"{URL}/soci-bootstrap.pyz",
        "--mirror",
        URL,
        "--sha256",
        build.release().sha256,
    )
    done = subprocess.run(
        [sys.executable, "-I", program, "render", kind, *pinned],
        check=True,
        capture_output=True,
        text=True,
    )
    assert hashlib.sha256(zipapp()).hexdigest() in done.stdout
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def step(node: Node, shell: str, commands: list[str]) -> tuple[int, str, str]:
    """A step as the engines run it: its commands in one file, given to the shell."""
    node.write("/opt/step.sh", "\n".join(commands))
    done = node.run([shell, "/opt/step.sh"], check=False, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_ssm_looks_installs_and_rolls_back(node: Node, tmp_path: Path) -> None:
    commands = document("ssm-document", tmp_path)["mainSteps"][0]["inputs"]["runCommand"]

    def run(action: str) -> tuple[int, str, str]:
        return step(node, "sh", [line.replace("{{ Action }}", action) for line in commands])

    assert run("doctor")[0] == 3, "no SOCI is absent"
    assert not node.exists(AGENT), "doctor changes nothing"
    status, _, said = run("install")
    assert status == 0, said
    assert node.exists(AGENT)
    status, out, _ = run("doctor")
    # Healthy where it switched at once, pending where it waits for the next boot.
    verdict = json.loads(node.run([AGENT, "doctor", "--json"], check=False).stdout)["verdict"]
    assert (verdict, status) in {("healthy", 0), ("pending", 2)}, out
    status, _, said = run("rollback")
    assert status == 0, said
    assert not node.exists(AGENT)
    assert run("doctor")[0] == 3


def scripts(tmp_path: Path) -> dict[str, list[str]]:
    """An Image Builder component's commands by phase."""
    phases = document("image-builder", tmp_path)["phases"]
    return {phase["name"]: phase["steps"][0]["inputs"]["commands"] for phase in phases}


def test_image_builder_bakes_what_boots_healthy(node: Node, tmp_path: Path) -> None:
    phases = scripts(tmp_path)
    assert step(node, "bash", phases["validate"])[0] == 127, "nothing is baked yet"
    status, _, said = step(node, "bash", phases["build"])
    assert status == 0, said
    node.reboot()
    status, out, _ = step(node, "bash", phases["test"])
    assert (status, json.loads(out)["verdict"]) == (0, "healthy"), out


def test_image_builder_validates_what_it_baked(node: Node, tmp_path: Path) -> None:
    phases = scripts(tmp_path)
    assert step(node, "bash", phases["build"])[0] == 0
    for phase in ("validate", "test"):
        status, out, _ = step(node, "bash", phases[phase])
        report = json.loads(out)
        assert not [check["id"] for check in report["checks"] if check["status"] == "fail"], out
        assert (status, report["verdict"]) == (0, "pending")
