"""The shell steps of SSM, Image Builder and Packer documents, run with a stub and an agent of ours."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from soci_bootstrap.paths import AGENT
from soci_bootstrap.render import render
from tests.support.render_requests import ARGUMENTS, DIGEST, URL, heredoc, make

pytestmark = pytest.mark.subprocess

STATUSES = [0, 1, 2]


def run(script: str, shell: str, tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` from a file, as all three engines do."""
    path = tmp_path / "script.sh"
    path.write_text(script)
    return subprocess.run(
        [shell, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={"PATH": "/usr/bin:/bin", **environ},
    )


def agent(tmp_path: Path, output: str = "$*", status: int = 0) -> str:
    """A program that stands in for the agent on the node."""
    path = tmp_path / "agent"
    path.write_text(f"#!/bin/sh\ncat <<X\n{output}\nX\nexit {status}\n")
    path.chmod(0o755)
    return str(path)


def ssm_script(action: str, arguments: tuple[str, ...] = ()) -> str:
    document: dict[str, Any] = yaml.safe_load(render(make("ssm-document", arguments)))
    return "\n".join(document["mainSteps"][0]["inputs"]["runCommand"]).replace("{{ Action }}", action)


def image_builder_scripts(arguments: tuple[str, ...] = ()) -> dict[str, str]:
    component: dict[str, Any] = yaml.safe_load(render(make("image-builder", arguments)))
    return {
        phase["name"]: "\n".join(phase["steps"][0]["inputs"]["commands"]) for phase in component["phases"]
    }


def packer_scripts() -> list[str]:
    (build,) = hcl2.loads(render(make("packer")))["build"]
    return [heredoc(provisioner['"shell"']["inline"][0]) for provisioner in build["provisioner"]]


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", ["install", "doctor", "rollback"])
def test_ssm_passes_the_stubs_status_on(action: str, status: int, shell: str, tmp_path: Path) -> None:
    done = run(ssm_script(action), shell, tmp_path, STUB_STATUS=str(status))
    assert done.returncode == status
    assert done.stdout == f"{URL} {DIGEST} {action}\n"


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("action", ["doctor", "rollback"])
def test_ssm_asks_the_agent_on_the_node_where_there_is_one(action: str, status: int, tmp_path: Path) -> None:
    script = ssm_script(action).replace(AGENT, agent(tmp_path, status=status))
    done = run(script, "dash", tmp_path)
    assert (done.returncode, done.stdout) == (status, f"{action}\n")


def test_ssm_installs_with_the_pinned_zipapp_even_where_an_agent_is(tmp_path: Path) -> None:
    script = ssm_script("install", ARGUMENTS).replace(AGENT, agent(tmp_path, status=9))
    done = run(script, "dash", tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{URL} {DIGEST} install {' '.join(ARGUMENTS)}\n")


def test_ssm_forces_a_rollback_only_where_it_was_rendered_so(tmp_path: Path) -> None:
    assert run(ssm_script("rollback", ARGUMENTS), "dash", tmp_path).stdout.endswith(" rollback\n")
    forced = ssm_script("rollback", (*ARGUMENTS, "--force"))
    assert run(forced, "dash", tmp_path).stdout.endswith(" rollback --force\n")


@pytest.mark.parametrize("status", STATUSES)
def test_image_builder_and_packer_pass_bakes_status_on(status: int, tmp_path: Path) -> None:
    for script in (image_builder_scripts()["build"], packer_scripts()[0]):
        done = run(script, "bash", tmp_path, STUB_STATUS=str(status))
        assert (done.returncode, done.stdout) == (status, f"{URL} {DIGEST} bake\n")


@pytest.mark.parametrize(
    ("verdict", "status", "expected"),
    [
        ("healthy", 0, 0),
        ("pending", 2, 0),
        ("degraded", 2, 2),
        ("broken", 1, 1),
        ("absent", 3, 3),
        ("unknown", 4, 4),
    ],
)
def test_an_image_may_wait_for_its_first_boot_but_not_be_broken(
    verdict: str, status: int, expected: int, tmp_path: Path
) -> None:
    report = f'{{"verdict": "{verdict}", "checks": [{{"found": "\\\\"verdict\\\\": \\\\"pending\\\\""}}]}}'
    scripts = image_builder_scripts()
    for script in (scripts["validate"], scripts["test"], packer_scripts()[1]):
        done = run(script.replace(AGENT, agent(tmp_path, report, status)), "bash", tmp_path)
        assert done.returncode == expected
        assert f'"verdict": "{verdict}"' in done.stdout


def test_an_image_without_the_agent_fails_its_check(tmp_path: Path) -> None:
    script = image_builder_scripts()["test"].replace(AGENT, str(tmp_path / "missing"))
    assert run(script, "bash", tmp_path).returncode == 127


def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    scripts = [
        ssm_script("install", ARGUMENTS),
        *image_builder_scripts(ARGUMENTS).values(),
        *packer_scripts(),
    ]
    for script in scripts:
        path = tmp_path / "script.sh"
        path.write_text(script)
        done = subprocess.run(
            ["shellcheck", "-s", "sh", "-e", "SC2194", str(path)],  # a case on {{ Action }}, once replaced
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
