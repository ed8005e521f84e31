"""gzip, as a stream: igzip_lib where there is one, else zlib. Both let go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from soci_bootstrap.errors import ArchiveError

OUTPUT = 512 * 1024
"""Bytes given out at once, whatever a member expands to."""

_HEADER_LIMIT = 128 * 1024
_RESERVED_FLAGS = 0xE0

_REMEDY = "fetch it again from the release page; if it is your own mirror, run `soci-bootstrap mirror` on it"


class Gunzip:
    """Inflates what it is fed: one or more gzip members, zero padding after them, nothing else.

    Args:
        igzip: the ``igzip_lib`` module, None for zlib.
        limit: inflated bytes above which the stream is a bomb.
    """

    def __init__(self, igzip: Any | None, limit: int) -> None:
        self._igzip = igzip
        self._limit = limit
        self._inflated = 0
        self._member: Any = None
        self._members = 0
        self._head = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Inflate ``data``, in pieces of at most ``OUTPUT`` bytes.

        Raises:
            ArchiveError: not gzip, corrupt, garbage after it, or a bomb.
        """
        while data:
            if self._member is None:
                data = self._begin(data)
                continue
            for piece in self._inflate(data):
                self._inflated += len(piece)
                if self._inflated > self._limit:
                    raise ArchiveError(
                        "the archive expands beyond any release",
                        found=f"more than {self._limit >> 20} MiB",
                        expected="about 100 MiB",
                        remedy=_REMEDY,
                    )
                yield piece
            if not self._member.eof:
                return
            data = self._member.unused_data
            self._member = None

    def finish(self) -> None:
        """Raise ``ArchiveError`` if the stream ended in the middle."""
        if self._member is not None or self._head:
            raise ArchiveError(
                "the archive is cut short",
                found="the end of the file in the middle of its gzip stream",
                expected="a whole one",
                remedy=_REMEDY,
            )
        if not self._members:
            raise ArchiveError("the archive is empty", found="0 bytes", expected="a .tar.gz", remedy=_REMEDY)

    def _begin(self, data: bytes) -> bytes:
        """Start a member once its whole header is there.

        ISA-L loses its way where a header with more than one optional field, or with a checksum,
        comes in two pieces (tried with python-isal 1.9.1).
        """
        data = self._head + data
        self._head = b""
        if self._members:
            data = data.lstrip(b"\0")
        if not data:
            return b""
        if not b"\x1f\x8b".startswith(data[:2]):
            after = "after its gzip stream" if self._members else "at its start"
            raise ArchiveError(
                "the archive is not gzip" if not self._members else "the archive has garbage in it",
                found=f"the bytes {data[:4].hex()} {after}",
                expected="1f8b, a gzip header" if not self._members else "the end of the file",
                remedy=_REMEDY,
            )
        if not _header_complete(data):
            if len(data) > _HEADER_LIMIT:
                raise ArchiveError(
                    "the archive is corrupt",
                    found=f"a gzip header of more than {_HEADER_LIMIT} bytes",
                    expected="a few dozen",
                    remedy=_REMEDY,
                )
            self._head = data
            return b""
        if data[3] & _RESERVED_FLAGS:
            # zlib says so itself, ISA-L goes on.
            raise ArchiveError(
                "the archive is corrupt",
                found=f"the flags {data[3]:#04x} in a gzip header",
                expected="none of the reserved ones",
                remedy=_REMEDY,
            )
        self._members += 1
        self._member = self._new()
        return data

    def _new(self) -> Any:
        if self._igzip is not None:
            return self._igzip.IgzipDecompressor(flag=self._igzip.DECOMP_GZIP)
        import zlib

        return zlib.decompressobj(wbits=31)

    def _inflate(self, data: bytes) -> Iterator[bytes]:
        try:
            if self._igzip is None:
                while data or not self._member.eof:
                    piece = self._member.decompress(data, OUTPUT)
                    data = self._member.unconsumed_tail
                    if piece:
                        yield piece
                    if self._member.eof or (not data and len(piece) < OUTPUT):
                        return
            else:
                while True:
                    piece = self._member.decompress(data, OUTPUT)
                    data = b""
                    if piece:
                        yield piece
                    if self._member.eof or self._member.needs_input:
                        return
        except Exception as error:  # each library has errors of its own, igzip_lib one for each load
            raise ArchiveError(
                "the archive is corrupt",
                found=f"a gzip stream that does not inflate ({str(error)[:80]})",
                expected="a whole one",
                remedy=_REMEDY,
            ) from error


def _header_complete(data: bytes) -> bool:
    """Tell if ``data`` holds all of the header that it starts with (RFC 1952 2.3)."""
    if len(data) < 10:
        return False
    flags, end = data[3], 10
    if flags & 4:  # FEXTRA
        end += 2 + int.from_bytes(data[10:12], "little")
    for flag in (8, 16):  # FNAME, FCOMMENT: up to a zero
        if flags & flag:
            zero = data.find(b"\0", end)
            if zero < 0:
                return False
            end = zero + 1
    if flags & 2:  # FHCRC
        end += 2
    return len(data) >= end


def load_igzip() -> Any | None:
    """Load the ``igzip_lib`` that Python finds, else the carried one; None: zlib must do.

    Worth a quarter of a second of a cold install: zlib would be its longest part.
    """
    try:
        from isal import igzip_lib
    except ImportError:
        return _carried_igzip()
    return igzip_lib


def _carried_igzip() -> Any | None:
    """Ours, loaded from anonymous memory: nothing is put on the node for the sake of a fetch."""
    import os
    import sys

    from soci_bootstrap.system import resources

    python = f"{sys.version_info[0]}{sys.version_info[1]}"
    try:
        library = resources.read(f"igzip_lib-{python}-{os.uname().machine}.so")
        descriptor = os.memfd_create("igzip_lib")
    except OSError:
        return None
    try:
        os.write(descriptor, library)
        return load_extension(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None
    finally:
        os.close(descriptor)


def load_extension(path: str) -> Any | None:
    """Load the ``igzip_lib`` extension module at ``path``, None if it does not load here."""
    from importlib.machinery import ExtensionFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("igzip_lib", path, loader=ExtensionFileLoader("igzip_lib", path))
    if spec is None or spec.loader is None:
        return None
    try:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:
        return None
    return module
