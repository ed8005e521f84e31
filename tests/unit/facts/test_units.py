from __future__ import annotations

import os

import pytest

from soci_bootstrap.errors import StateError
from soci_bootstrap.facts.units import read_manager, read_unit
from soci_bootstrap.system import System
from tests.support.nodes import write

LIB = "/usr/lib/systemd/system/x.service"
ETC = "/etc/systemd/system/x.service"


def unit(tmp_path, files, without="", name="x.service"):
    return read_unit(system(tmp_path, files), name, without)


def system(tmp_path, files) -> System:
    """With a /dev/null that is one: it can't be read as a file."""
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev/null")
    return System(str(write(tmp_path, files)))


@pytest.mark.parametrize(
    ("files", "path", "values"),
    [
        ({}, "", ()),
        ({LIB: "[Service]\nEnvironment=A=1\n"}, LIB, ("A=1",)),
        ({LIB: "[Service]\nEnvironment=A=1\n", ETC: "[Service]\n"}, ETC, ()),
        (
            {"/run/systemd/system/x.service": "", LIB: "[Service]\nEnvironment=A\n"},
            "/run/systemd/system/x.service",
            (),
        ),
        ({LIB: "[Service]\nEnvironment = A \n ; no\n# no\nEnvironment=B\n"}, LIB, ("A", "B")),
        ({LIB: "[Service]\nEnvironment=A\nEnvironment=\nEnvironment=B\n"}, LIB, ("B",)),
        ({LIB: "[Service]\nEnvironment=A \\\n# between\n  B \\\n\nEnvironment=C\n"}, LIB, ("A B", "C")),
        ({LIB: "[Unit]\nEnvironment=A\n[Service]\nnot a directive\n"}, LIB, ()),
        ({LIB: "Environment=A\n"}, LIB, ()),
        ({LIB: b"[Service]\nEnvironment=\xff\n"}, LIB, ("\ufffd",)),
        # Drop-ins: by name over all directories, the first directory's one of a name.
        (
            {
                LIB: "[Service]\nEnvironment=main\n",
                f"{LIB}.d/20-b.conf": "[Service]\nEnvironment=lib20\n",
                f"{ETC}.d/10-a.conf": "[Service]\nEnvironment=etc10\n",
                f"{ETC}.d/notes.txt": "[Service]\nEnvironment=no\n",
            },
            LIB,
            ("main", "etc10", "lib20"),
        ),
        (
            {f"{LIB}.d/a.conf": "[Service]\nEnvironment=lib\n", f"{ETC}.d/a.conf": "-> /dev/null"},
            "",
            (),
        ),
        # Masked: as good as not there, drop-ins included.
        (
            {ETC: "-> /dev/null", LIB: "[Service]\nEnvironment=A\n", f"{ETC}.d/a.conf": "Environment=B"},
            "",
            (),
        ),
        (
            {ETC: "-> /usr/lib/other.service", "/usr/lib/other.service": "[Service]\nEnvironment=A\n"},
            ETC,
            ("A",),
        ),
    ],
)
def test_unit(tmp_path, files, path, values) -> None:
    found = unit(tmp_path, files)
    assert (found.path, found.values("Environment")) == (path, values)


def test_a_drop_in_of_ours_is_left_out(tmp_path) -> None:
    files = {
        f"{ETC}.d/50-ours.conf": "[Service]\nA=ours\n",
        f"{ETC}.d/60-theirs.conf": "[Service]\nA=theirs\n",
    }
    assert unit(tmp_path, files, "50-ours.conf").values("A") == ("theirs",)


def test_manager(tmp_path) -> None:
    files = {
        "/etc/systemd/system.conf": "[Manager]\nDefaultEnvironment=A=1\n",
        "/run/systemd/system.conf.d/a.conf": "[Manager]\nDefaultEnvironment=B=2\n",
    }
    manager = read_manager(System(str(write(tmp_path, files))))
    assert manager.values("DefaultEnvironment", "Manager") == ("A=1", "B=2")


@pytest.mark.parametrize("name", ["soci-snapshotter.service", "soci-snapshotter.socket"])
def test_socis_own_is_told_to_be_masked(tmp_path, name) -> None:
    """Whoever masked it does not want it started: to write over that would be no repair."""
    with pytest.raises(StateError, match=f"{name} is masked.*systemctl unmask {name}"):
        unit(tmp_path, {f"/etc/systemd/system/{name}": "-> /dev/null"}, name=name)
