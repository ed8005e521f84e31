"""What is built from the source distribution, in a fresh virtual environment, away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support import trees
from tests.support.render_requests import DIGEST, URL

pytestmark = pytest.mark.subprocess

SOURCE = Path(__file__).parents[3]
DATA = {
    "bootstrap.sh": "scripts/bootstrap.sh",
    **{
        str(path.relative_to(SOURCE)): str(path.relative_to(SOURCE))
        for path in (SOURCE / "systemd").rglob("*")
        if path.is_file()
    },
}


def call(*argv: str | Path, cwd: Path, status: int = 0) -> str:
    environ = {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        argv, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == status, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that a wheel has, by way of the source distribution: what is not in it can't get in."""
    pytest.importorskip("setuptools")
    place = tmp_path_factory.mktemp("wheel")
    ours = shutil.ignore_patterns("__pycache__", "lock", "bench_lib")
    for name in ("soci_bootstrap", "systemd", "scripts"):
        shutil.copytree(SOURCE / name, place / "source" / name, ignore=ours)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(SOURCE / name, place / "source")
    setup = (sys.executable, "-c", "import setuptools; setuptools.setup()", "-q")
    call(*setup, "sdist", "-d", str(place), cwd=place / "source")
    (archive,) = place.glob("*.tar.gz")
    shutil.unpack_archive(archive, place / "unpacked")
    (unpacked,) = (place / "unpacked").iterdir()
    call(*setup, "build", "--build-lib", str(place / "lib"), cwd=unpacked)
    return place / "lib"


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds it, and the third-party packages of this one."""
    place = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(place), cwd=place)
    (site,) = place.glob("lib/python*/site-packages")
    shutil.copytree(built, site, dirs_exist_ok=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin" / "python"


def test_it_carries_units_and_stub(built: Path) -> None:
    data = built / "soci_bootstrap" / "data"
    for name, home in DATA.items():
        assert (data / name).read_bytes() == (SOURCE / home).read_bytes()
    assert (data / "gunzip").is_file()
    assert (data / "inflate.py").is_file()


def test_render_finds_the_stub(python: Path, tmp_path: Path) -> None:
    argv = ("render", "userdata", "--zipapp-url", URL, "--zipapp-sha256", DIGEST)
    out = call(python, "-I", "-m", "soci_bootstrap", *argv, cwd=tmp_path)
    assert out.startswith("MIME-Version: 1.0\n")
    assert (SOURCE / "scripts/bootstrap.sh").read_text().split("\n", 1)[1].strip() in out


def test_plan_finds_the_units(python: Path, tmp_path: Path) -> None:
    trees.eks(tmp_path)
    argv = ("plan", "--root", str(tmp_path), "--arch", "amd64", "--json")
    out = call(python, "-I", "-m", "soci_bootstrap", *argv, cwd=tmp_path, status=3)
    paths = {step.get("path") for step in json.loads(out)["steps"]}
    assert {
        "/etc/systemd/system/soci-snapshotter.service",
        "/etc/systemd/system/soci-snapshotter.socket",
    } <= paths


def test_no_link_leads_out_of_the_package() -> None:
    for path in (SOURCE / "soci_bootstrap").rglob("*"):
        assert not path.is_symlink(), path
