from __future__ import annotations

import os
import sys
import tracemalloc
from pathlib import Path

import pytest
from isal import igzip_lib

from soci_bootstrap.errors import ArchiveError
from soci_bootstrap.fetch.gunzip import Gunzip, load_extension, load_igzip
from soci_bootstrap.fetch.tar import TarReader
from soci_bootstrap.system import resources
from tests.support.corpus import archives

ENGINES = {"igzip": igzip_lib, "zlib": None}


def extract(data: bytes, engine: object, step: int) -> bytes:
    """The member, from ``data`` fed in blocks of ``step`` bytes."""
    sizes: list[int] = []
    taken: list[bytes] = []
    gunzip = Gunzip(engine, 16 << 20)
    tar = TarReader(sizes.append, lambda view: taken.append(bytes(view)))
    for at in range(0, len(data), step):
        for piece in gunzip.feed(data[at : at + step]):
            tar.feed(piece)
    gunzip.finish()
    tar.finish()
    member = b"".join(taken)
    assert sizes == [len(member)]
    return member


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", archives.CASES, ids=lambda case: case.name)
def test_corpus(case: archives.Case, engine: str) -> None:
    for step in (1 << 18,) if len(case.data) > 20_000 else (1, 3, 511, 1 << 18):
        if case.problem is None:
            assert extract(case.data, ENGINES[engine], step) == archives.PROGRAM
        else:
            with pytest.raises(ArchiveError, match=case.problem) as caught:
                extract(case.data, ENGINES[engine], step)
            assert caught.value.found
            assert caught.value.expected
            assert caught.value.remedy
            assert str(caught.value).isprintable()


def test_names_are_unique() -> None:
    names = [case.name for case in archives.CASES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("at", range(0, 512, 7))
def test_a_header_with_any_byte_changed_is_refused(at: int) -> None:
    header = bytearray(archives.GOOD)
    header[at] ^= 0x41
    tar = TarReader(lambda _: None, lambda _: None)
    with pytest.raises(ArchiveError):
        tar.feed(bytes(header) + archives.END)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_bomb_costs_no_memory(engine: str) -> None:
    data = archives.bomb(64 << 20)
    gunzip = Gunzip(ENGINES[engine], 32 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match="expands beyond any release"):
            for _ in gunzip.feed(data):
                pass
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_an_installed_igzip_is_used() -> None:
    assert load_igzip() is igzip_lib


def test_the_igzip_that_we_carry_is_loaded_from_memory(monkeypatch) -> None:
    wanted = f"igzip_lib-{sys.version_info[0]}{sys.version_info[1]}-{os.uname().machine}.so"
    library = Path(igzip_lib.__file__).read_bytes()
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setattr(resources, "read", {wanted: library}.__getitem__)
    before = os.listdir("/proc/self/fd")
    module = load_igzip()
    assert module is not None
    assert module is not igzip_lib
    assert len(os.listdir("/proc/self/fd")) == len(before)
    assert extract(archives.WHOLE, module, 100) == archives.PROGRAM
    with pytest.raises(ArchiveError, match="corrupt"):
        extract(archives.WHOLE[:-8] + b"????????", module, 100)


def test_without_any_igzip_zlib_does(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "isal", None)
    assert load_igzip() is None  # a checkout carries none


def test_an_igzip_that_does_not_load_is_as_if_there_were_none(tmp_path) -> None:
    broken = tmp_path / "igzip_lib.so"
    broken.write_bytes(b"not an ELF file")
    assert load_extension(str(broken)) is None
    assert load_extension(str(tmp_path / "absent.so")) is None
