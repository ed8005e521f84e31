"""Takes one regular file out of a tar stream and nothing else, in one pass and flat memory.

Not the standard library's tarfile: it costs a fifth of a small run to import, and its job is to
extract whatever an archive says. Here everything that is not the plain case is refused by name.
Formats: POSIX.1-2008 ustar and pax, GNU long names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from soci_bootstrap.errors import ArchiveError

MEMBER = "soci-snapshotter-grpc"
"""The only member we take, also as ``./soci-snapshotter-grpc``."""

LIMIT = 1 << 30
"""Bytes: nothing in a release is larger, and neither is the whole of it."""

_BLOCK = 512
_META_LIMIT = 1 << 20
_REMEDY = "use the release's own archive; if it is your own mirror, run `soci-bootstrap mirror` on it"

_REGULAR = (b"0", b"\0", b"7")
_NO_DATA: Mapping[bytes, str] = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a directory",
    b"6": "a FIFO",
}
_WITH_DATA: Mapping[bytes, str] = {
    b"S": "a sparse file",
    b"M": "a part of another volume",
    b"D": "a dump directory",
    b"V": "a volume label",
    b"N": "an old GNU long name",
}
_META = b"LKxgX"


class TarReader:
    """Fed a tar stream, gives the one member's bytes.

    Args:
        begin: called once with the member's size in bytes, before its data.
        write: called with its data in order; the view is valid as long as it is held.
    """

    def __init__(self, begin: Callable[[int], None], write: Callable[[memoryview], None]) -> None:
        self._begin = begin
        self._write = write
        self._header = bytearray()
        self._left = 0
        self._padding = 0
        self._sink: Callable[[memoryview], None] | None = None
        self._meta: bytearray | None = None
        self._meta_type = b""
        self._overrides: dict[str, bytes] = {}
        self._zero_blocks = 0
        self._found = False
        self._names: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Read on. Raises ``ArchiveError`` at the first thing that is not as it should be."""
        view = memoryview(data)
        while view:
            if self._left:
                view = self._take_data(view)
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            elif self._zero_blocks == 2:
                self._only_zeros(view)
                return
            else:
                view = self._take_header(view)

    def finish(self) -> None:
        """Raise ``ArchiveError`` unless the archive ended well and held the member."""
        if self._zero_blocks < 2:
            raise _error(
                "the archive is cut short",
                "the end of the stream before the tar's end mark",
                "two blocks of zeros at the end",
            )
        if not self._found:
            shown = ", ".join(_shown(name) for name in self._names[:5]) or "no members at all"
            more = f" and {len(self._names) - 5} more" if len(self._names) > 5 else ""
            raise _error(f"the archive has no {MEMBER}", shown + more, f"the member {MEMBER}")

    def _take_data(self, view: memoryview) -> memoryview:
        taken = min(self._left, len(view))
        if self._meta is not None:
            self._meta += view[:taken]
        elif self._sink is not None:
            self._sink(view[:taken])
        self._left -= taken
        if not self._left:
            self._sink = None
            if self._meta is not None:
                meta, self._meta = bytes(self._meta), None
                self._read_meta(meta)
        return view[taken:]

    def _take_header(self, view: memoryview) -> memoryview:
        taken = min(_BLOCK - len(self._header), len(view))
        self._header += view[:taken]
        if len(self._header) == _BLOCK:
            header = bytes(self._header)
            self._header.clear()
            if header.count(0) == _BLOCK:
                self._zero_blocks += 1
            elif self._zero_blocks:
                raise _error(
                    "the archive has data after its end", "an entry after a block of zeros", "its end"
                )
            else:
                self._read_header(header)
        return view[taken:]

    @staticmethod
    def _only_zeros(view: memoryview) -> None:
        if view.tobytes().count(0) != len(view):
            raise _error("the archive has data after its end", "bytes other than zero", "padding")

    def _read_header(self, header: bytes) -> None:
        stored = _number(header[148:156], "checksum")
        if stored != sum(header[:148]) + sum(header[156:]) + 8 * 0x20:
            raise _error(
                "the archive is not a tar",
                f"a header block that starts with {header[:8].hex()} and fails its checksum",
                "a tar header",
            )
        kind = header[156:157]
        size = _number(header[124:136], "size")
        if kind in _META:
            self._start_meta(kind, size)
            return
        self._entry(kind, self._name(header), self._size(size))

    def _start_meta(self, kind: bytes, size: int) -> None:
        if size > _META_LIMIT:
            raise _error(
                "the archive has an absurd header", f"an extended header of {size} bytes", "under 1 MiB"
            )
        self._meta, self._meta_type = bytearray(), kind
        self._left, self._padding = size, -size % _BLOCK
        if not size:
            raise _error("the archive has an absurd header", "an empty extended header", "a name in it")

    def _name(self, header: bytes) -> bytes:
        name = header[:100].split(b"\0", 1)[0]
        if header[257:263] == b"ustar\0":
            prefix = header[345:500].split(b"\0", 1)[0]
            name = prefix + b"/" + name if prefix else name
        return self._overrides.get("path", name)

    def _size(self, size: int) -> int:
        """Return the entry's size, which a pax header may say instead."""
        text = self._overrides.get("size")
        if text is not None:
            if not re.fullmatch(rb"[0-9]{1,19}", text):
                raise _error("the archive has an absurd header", f"the pax size {text[:20]!r}", "a number")
            size = int(text)
        if size > LIMIT:
            raise _error(
                "the archive holds something absurdly large", f"an entry of {size} bytes", f"at most {LIMIT}"
            )
        return size

    def _entry(self, kind: bytes, name: bytes, size: int) -> None:
        sparse = any(key.startswith("GNU.sparse.") for key in self._overrides)
        self._overrides = {}
        what = "a sparse file" if sparse else _NO_DATA.get(kind) or _WITH_DATA.get(kind)
        if kind in _NO_DATA and size:
            raise _error("the archive has an absurd header", f"{what} with {size} bytes of data", "no data")
        if name in (MEMBER.encode(), b"./" + MEMBER.encode()):
            self._wanted(kind, what, size)
        elif len(self._names) < 1000:
            self._names.append(name[:100])
        self._left, self._padding = size, -size % _BLOCK

    def _wanted(self, kind: bytes, what: str | None, size: int) -> None:
        if what is not None or kind not in _REGULAR:
            raise _error(
                f"{MEMBER} in the archive is no file",
                what or f"an entry of the unknown type {_shown(kind)}",
                "a regular file",
            )
        if self._found:
            raise _error(f"the archive holds {MEMBER} twice", "a second one", "exactly one")
        if not size:
            raise _error(f"{MEMBER} in the archive is empty", "0 bytes", "a program")
        self._found = True
        self._begin(size)
        self._sink = self._write

    def _read_meta(self, data: bytes) -> None:
        """Take what an extended header says of the next entry; of all entries only what is harmless."""
        if self._meta_type == b"L":
            self._overrides["path"] = data.rstrip(b"\0")
        elif self._meta_type in b"xX":
            self._overrides.update(_pax(data))
        elif self._meta_type == b"g":
            loud = sorted(
                key for key in _pax(data) if key in ("path", "size") or key.startswith("GNU.sparse.")
            )
            if loud:
                raise _error(
                    "the archive has an absurd header",
                    f"a pax {loud[0]} for every entry",
                    "one for each entry",
                )


def _pax(data: bytes) -> dict[str, bytes]:
    """Split a pax header into records: length, key, ``=``, value, line feed."""
    records: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        match = re.compile(rb"([0-9]{1,7}) ([^=\n]{1,200})=").match(data, position)
        end = position + int(match[1]) if match else 0
        if not match or not match.end() < end <= len(data) or data[end - 1 : end] != b"\n":
            raise _error(
                "the archive has an absurd header", "a pax record that does not parse", "LENGTH KEY=VALUE"
            )
        records[match[2].decode("utf-8", "replace")] = data[match.end() : end - 1]
        position = end
    return records


def _number(field: bytes, what: str) -> int:
    """Octal text, or GNU's base 256."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not text:
        return 0
    if not re.fullmatch(rb"[0-7]+", text):
        raise _error(
            "the archive is not a tar", f"the {what} {field[:12].hex()} in a header", "an octal number"
        )
    return int(text, 8)


def _shown(name: bytes) -> str:
    """Somebody else's bytes, fit to be shown."""
    text = ascii(name[:60].decode("utf-8", "replace"))
    return text if len(name) <= 60 else text + "…"


def _error(problem: str, found: str, expected: str) -> ArchiveError:
    return ArchiveError(problem, found=found, expected=expected, remedy=_REMEDY)
