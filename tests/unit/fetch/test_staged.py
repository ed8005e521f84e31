"""The one file that a fetch writes, on disks and beside files that it does not expect."""

from __future__ import annotations

import errno
import os

import pytest

from soci_bootstrap.errors import FetchError
from soci_bootstrap.fetch import staged
from tests.support.corpus import servers
from tests.support.fetching import Run, wanted, written


@pytest.fixture
def run(tmp_path) -> Run:
    return Run(tmp_path)


def test_umask_plays_no_part(run, tmp_path) -> None:
    previous = os.umask(0o777)
    try:
        run(wanted(mirror=str(written(tmp_path).parents[1])))
    finally:
        os.umask(previous)
    assert run.staged.stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_what_stands_there_already_is_not_touched(run, tmp_path, kind: str) -> None:
    victim = tmp_path / "victim"
    if kind != "dangling":
        victim.write_text("precious")
    if kind == "file":
        os.link(victim, run.staged)
    else:
        run.staged.symlink_to(victim)
    with pytest.raises(FetchError, match=r"can't write .*File exists"):
        run(wanted(mirror=str(written(tmp_path).parents[1])))
    assert os.path.lexists(run.staged)
    assert not victim.exists() or victim.read_text() == "precious"


@pytest.mark.parametrize("call", ["posix_fallocate", "write", "fsync", "fchmod"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_fails(run, tmp_path, monkeypatch, call: str, code: int) -> None:
    def fail(*_):
        raise OSError(code, os.strerror(code))

    mirror = str(written(tmp_path).parents[1])
    monkeypatch.setattr(staged, "os", Faulty(call, fail))
    with pytest.raises(FetchError, match=os.strerror(code)) as caught:
        run(wanted(mirror=mirror))
    assert str(run.staged) in str(caught.value)
    assert caught.value.remedy
    assert list(run.staged.parent.iterdir()) == []


def test_a_file_system_without_reservations(run, tmp_path, monkeypatch) -> None:
    def fail(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(staged, "os", Faulty("posix_fallocate", fail))
    run(wanted(mirror=str(written(tmp_path).parents[1])))
    assert run.staged.read_bytes() == servers.PROGRAM


class Faulty:
    """``os``, with one call that does something else."""

    def __init__(self, name: str, instead) -> None:
        self._name, self._instead = name, instead

    def __getattr__(self, name: str):
        return self._instead if name == self._name else getattr(os, name)


def test_no_directory(run, tmp_path) -> None:
    mirror = str(written(tmp_path).parents[1])
    run.staged.parent.rmdir()
    with pytest.raises(FetchError, match="create the directory"):
        run(wanted(mirror=mirror))
