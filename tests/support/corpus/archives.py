"""Archives as an attacker, a broken mirror or an odd tool would make them, and what must become of each."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass

MEMBER = b"soci-snapshotter-grpc"
PROGRAM = bytes(range(256)) * 20 + b"tail"
"""What the member holds: not a multiple of tar's 512 bytes, so that padding counts."""


@dataclass(frozen=True)
class Case:
    """One archive; ``problem`` is what the error must say, None where the member must come out."""

    name: str
    data: bytes
    problem: str | None


def entry(
    name: bytes = MEMBER,
    data: bytes = b"",
    kind: bytes = b"0",
    *,
    size: int | bytes | None = None,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
) -> bytes:
    """One header and its data, exactly as told: a lie stays a lie."""
    stated = len(data) if size is None else size
    field = stated if isinstance(stated, bytes) else b"%011o\0" % stated
    head = (
        name[:100].ljust(100, b"\0")
        + b"0000755\0"
        + b"0000000\0" * 2
        + field.ljust(12, b"\0")
        + b"0" * 11
        + b"\0"
    )
    tail = (
        kind
        + link.ljust(100, b"\0")
        + magic
        + b"\0" * 64
        + b"0000000\0" * 2
        + prefix.ljust(155, b"\0")
        + b"\0" * 12
    )
    total = sum(head) + 8 * 32 + sum(tail)
    return head + (checksum or b"%06o\0 " % total) + tail + data + b"\0" * (-len(data) % 512)


def pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header of well-formed records."""
    body = b""
    for key, value in records.items():
        length = len(key) + len(value) + 3
        while len(str(length)) + len(key) + len(value) + 3 != length:
            length = len(str(length)) + len(key) + len(value) + 3
        body += b"%d %s=%s\n" % (length, key, value)
    return entry(b"PaxHeaders/x", body, kind)


END = b"\0" * 1024

BOMB = 24 << 20
"""Bytes: more than the test lets anything expand to."""


def packed(*parts: bytes, end: bytes = END, level: int = 6) -> bytes:
    """These entries as a .tar.gz."""
    return gzip.compress(b"".join(parts) + end, level, mtime=0)


def header(flags: int) -> bytes:
    """A gzip header with the optional fields that ``flags`` ask for (RFC 1952)."""
    made = b"\x1f\x8b\x08" + bytes([flags]) + b"\0" * 4 + b"\0\x03"
    made += (
        (b"\x02\0ab" if flags & 4 else b"")
        + (b"name\0" if flags & 8 else b"")
        + (b"why\0" if flags & 16 else b"")
    )
    return made + ((zlib.crc32(made) & 0xFFFF).to_bytes(2, "little") if flags & 2 else b"")


def bomb(size: int) -> bytes:
    """``size`` zero bytes as gzip, without ever holding them."""
    deflate = zlib.compressobj(9, wbits=31)
    chunk = b"\0" * (1 << 20)
    return b"".join(deflate.compress(chunk) for _ in range(size >> 20)) + deflate.flush()


GOOD = entry(data=PROGRAM)
OTHERS = entry(b"soci", b"another program") + entry(b"NOTICE.md", b"notice")
WHOLE = packed(GOOD, OTHERS)
_RAW = GOOD + OTHERS + END
_LONG = b"d/" * 120 + b"long"


def _cut(share: float) -> bytes:
    return WHOLE[: int(len(WHOLE) * share)]


def _split_members(raw: bytes) -> bytes:
    return b"".join(gzip.compress(raw[at : at + 700], 6, mtime=0) for at in range(0, len(raw), 700))


CASES: tuple[Case, ...] = (
    # What real tools make, and must be taken.
    Case("a release", WHOLE, None),
    Case("the member last", packed(OTHERS, GOOD), None),
    Case("the member with ./", packed(entry(b"./", kind=b"5"), entry(b"./" + MEMBER, PROGRAM)), None),
    Case("old tar, NUL type", packed(entry(data=PROGRAM, kind=b"\0", magic=b"\0" * 8)), None),
    Case("GNU magic", packed(entry(data=PROGRAM, magic=b"ustar  \0")), None),
    Case("contiguous file", packed(entry(data=PROGRAM, kind=b"7")), None),
    Case(
        "GNU long name for another",
        packed(entry(b"././@LongLink", _LONG + b"\0", b"L"), entry(b"d", b"x"), GOOD),
        None,
    ),
    Case(
        "GNU long name for the member",
        packed(entry(b"@LongLink", MEMBER + b"\0", b"L"), entry(b"x", PROGRAM)),
        None,
    ),
    Case(
        "GNU long link for another",
        packed(entry(b"@LongLink", _LONG, b"K"), entry(b"l", kind=b"2"), GOOD),
        None,
    ),
    Case(
        "pax name for the member",
        packed(pax({b"path": MEMBER, b"mtime": b"1.5"}), entry(b"x", PROGRAM)),
        None,
    ),
    Case(
        "pax size for the member",
        packed(pax({b"size": b"%d" % len(PROGRAM)}), entry(data=PROGRAM, size=0)),
        None,
    ),
    Case("global pax header", packed(pax({b"comment": b"a git commit"}, b"g"), GOOD), None),
    Case(
        "size in base 256", packed(entry(data=PROGRAM, size=b"\x80" + len(PROGRAM).to_bytes(11, "big"))), None
    ),
    Case("a directory without a size", packed(entry(b"d/", kind=b"5", size=b"\0" * 12), GOOD), None),
    Case("a pax key that is no UTF-8", packed(pax({b"\xff": b"x"}), GOOD), None),
    Case("./ in the prefix", packed(entry(data=PROGRAM, prefix=b".")), None),
    Case("gzip in many members", _split_members(_RAW), None),
    Case("zeros after gzip", WHOLE + b"\0" * 3000, None),
    Case("empty gzip member after", WHOLE + gzip.compress(b""), None),
    Case("padded to 10 KiB records", packed(GOOD, end=b"\0" * 10240), None),
    Case("gzip with a name", header(8) + WHOLE[10:], None),
    Case("gzip with extra field and name", header(4 | 8) + WHOLE[10:], None),
    Case("gzip with every header field", header(2 | 4 | 8 | 16) + WHOLE[10:], None),
    Case("other members that climb", packed(entry(b"../../etc/passwd", b"root::0:0"), GOOD), None),
    Case(
        "other members with absolute names", packed(entry(b"/etc/cron.d/x", b"* * * * * root x"), GOOD), None
    ),
    Case(
        "other members that link",
        packed(entry(b"bin", kind=b"2", link=b"/usr/bin"), entry(b"bin/x", b"x"), GOOD),
        None,
    ),
    Case("a device beside", packed(entry(b"null", kind=b"3"), GOOD), None),
    # The member's name, but not the member.
    Case("climbing name", packed(entry(b"../" + MEMBER, PROGRAM)), "has no soci-snapshotter-grpc"),
    Case("climbing from inside", packed(entry(b"a/../" + MEMBER, PROGRAM)), "has no soci-snapshotter-grpc"),
    Case(
        "absolute name", packed(entry(b"/usr/local/bin/" + MEMBER, PROGRAM)), "has no soci-snapshotter-grpc"
    ),
    Case("twice ./", packed(entry(b"././" + MEMBER, PROGRAM)), "has no soci-snapshotter-grpc"),
    Case("in a directory", packed(entry(MEMBER, PROGRAM, prefix=b"bin")), "has no soci-snapshotter-grpc"),
    Case("in a directory that ends in a dot", packed(entry(data=PROGRAM, prefix=b"b.")), "has no soci"),
    Case("trailing slash", packed(entry(MEMBER + b"/", PROGRAM)), "has no soci-snapshotter-grpc"),
    Case("other case", packed(entry(MEMBER.upper(), PROGRAM)), "has no soci-snapshotter-grpc"),
    Case("name goes on", packed(entry(MEMBER + b"2", PROGRAM)), "has no soci-snapshotter-grpc"),
    Case("name with a terminal's escapes", packed(entry(b"\x1b]0;owned\x07\n", b"x")), r"\\x1b\]0;owned"),
    Case("pax renames the member away", packed(pax({b"path": b"x"}), GOOD), "has no soci-snapshotter-grpc"),
    Case("missing member", packed(OTHERS), "has no soci-snapshotter-grpc"),
    Case("empty archive", packed(), "no members at all"),
    # The right name, the wrong thing.
    Case("symbolic link", packed(entry(kind=b"2", link=b"/etc/shadow")), "a symbolic link"),
    Case("hard link", packed(entry(kind=b"1", link=b"/etc/shadow")), "a hard link"),
    Case(
        "hard link with data",
        packed(entry(data=b"x", kind=b"1", link=b"/etc/shadow")),
        "with 1 bytes of data",
    ),
    Case("character device", packed(entry(kind=b"3")), "a character device"),
    Case("block device", packed(entry(kind=b"4")), "a block device"),
    Case("directory", packed(entry(kind=b"5")), "a directory"),
    Case("FIFO", packed(entry(kind=b"6")), "a FIFO"),
    Case("GNU sparse giant", packed(entry(data=b"x" * 512, kind=b"S")), "a sparse file"),
    Case(
        "pax sparse giant",
        packed(pax({b"GNU.sparse.major": b"1", b"GNU.sparse.realsize": b"9" * 15}), GOOD),
        "a sparse file",
    ),
    Case("multi-volume", packed(entry(data=PROGRAM, kind=b"M")), "a part of another volume"),
    Case("unknown type", packed(entry(data=PROGRAM, kind=b"Z")), "unknown type"),
    Case("empty member", packed(entry()), "is empty"),
    Case("twice", packed(GOOD, GOOD), "twice"),
    Case("twice, the second a link", packed(GOOD, entry(kind=b"2", link=b"/etc/shadow")), "a symbolic link"),
    Case(
        "twice, the second by pax",
        packed(GOOD, pax({b"path": b"./" + MEMBER}), entry(b"x", b"evil")),
        "twice",
    ),
    Case(
        "twice, the second by GNU",
        packed(GOOD, entry(b"@LongLink", MEMBER, b"L"), entry(b"x", b"evil")),
        "twice",
    ),
    # Sizes.
    Case("giant", packed(entry(size=1 << 32), end=b"\0" * 4096), "absurdly large"),
    Case("giant beside", packed(entry(b"x", size=(1 << 30) + 1), GOOD), "absurdly large"),
    Case("giant by pax", packed(pax({b"size": b"9" * 19}), GOOD), "absurdly large"),
    Case("pax size of 5,000 digits", packed(pax({b"size": b"9" * 5000}), GOOD), "pax size"),
    Case("pax size negative", packed(pax({b"size": b"-1"}), GOOD), "pax size"),
    Case("size negative", packed(entry(data=PROGRAM, size=b"\xff" * 12)), "is not a tar"),
    Case("size not octal", packed(entry(data=PROGRAM, size=b"99999999999\0")), "is not a tar"),
    Case("size in giant base 256", packed(entry(size=b"\x80" + b"\xff" * 11)), "absurdly large"),
    Case("size in base 256, only its head", packed(entry(size=b"\x80\x01" + b"\0" * 10)), "absurdly large"),
    Case(
        "giant long name",
        packed(entry(b"@LongLink", kind=b"L", size=1 << 29), end=b"a" * 4096),
        "extended header",
    ),
    Case("empty long name", packed(entry(b"@LongLink", kind=b"L"), GOOD), "empty extended header"),
    Case("bomb", bomb(BOMB), "expands"),
    Case("bomb inside an entry", gzip.compress(entry(b"x", size=1 << 30)) + bomb(BOMB), "expands"),
    # Broken pax.
    Case("pax without a length", packed(entry(b"p", b"path=x\n", b"x"), GOOD), "pax record"),
    Case("pax length too long", packed(entry(b"p", b"99 path=x\n", b"x"), GOOD), "pax record"),
    Case("pax without an equals sign", packed(entry(b"p", b"7 path\n", b"x"), GOOD), "pax record"),
    Case("pax length zero", packed(entry(b"p", b"0 path=x\n", b"x"), GOOD), "pax record"),
    Case("pax length inside its key", packed(entry(b"p", b"4 path=x\n", b"x"), GOOD), "pax record"),
    Case("pax without a line feed", packed(entry(b"p", b"9 path=xy", b"x"), GOOD), "pax record"),
    Case(
        "pax name for every entry",
        packed(pax({b"path": MEMBER}, b"g"), entry(b"x", PROGRAM)),
        "for every entry",
    ),
    # Broken tar.
    Case("wrong checksum", packed(entry(data=PROGRAM, checksum=b"000000\0 ")), "is not a tar"),
    Case("checksum no number", packed(entry(data=PROGRAM, checksum=b"checksum")), "is not a tar"),
    Case("not a tar", gzip.compress(b"#!/bin/sh\n" * 100), "is not a tar"),
    Case("no end mark", packed(GOOD, end=b""), "cut short"),
    Case("half an end mark", packed(GOOD, end=b"\0" * 512), "cut short"),
    Case("cut in a header", gzip.compress(GOOD[:300]), "cut short"),
    Case("cut in the member", gzip.compress(GOOD[:2000]), "cut short"),
    Case("entry after one zero block", packed(GOOD, b"\0" * 512, OTHERS), "data after its end"),
    Case("a byte after the end", packed(GOOD, END, b"x", end=b""), "data after its end"),
    Case("entry after the end", packed(GOOD, END, OTHERS), "data after its end"),
    # Broken gzip.
    Case("nothing", b"", "archive is empty"),
    Case("one byte", b"\x1f", "cut short"),
    Case("only the magic", b"\x1f\x8b", "cut short"),
    Case("HTML", b"<!DOCTYPE html><title>Sign in</title>", "not gzip"),
    Case("a plain tar", _RAW, "not gzip"),
    Case("xz", b"\xfd7zXZ\0" + b"\0" * 40, "not gzip"),
    Case("zip", b"PK\x03\x04" + b"\0" * 40, "not gzip"),
    Case("cut early", _cut(0.2), "cut short"),
    Case("cut in the middle", _cut(0.5), "cut short"),
    Case("cut in the trailer", WHOLE[:-3], "cut short"),
    Case("endless name in gzip's header", header(8)[:-1] + b"n" * 200_000, "gzip header of more than"),
    Case("cut in gzip's header", header(4)[:-1], "cut short"),
    Case("wrong method", b"\x1f\x8b\x09" + WHOLE[3:], "corrupt"),
    Case("flipped bits", WHOLE[:-60] + bytes(b ^ 0x55 for b in WHOLE[-60:-20]) + WHOLE[-20:], "corrupt"),
    Case(
        "wrong checksum of gzip", WHOLE[:-8] + bytes(b ^ 0xFF for b in WHOLE[-8:-4]) + WHOLE[-4:], "corrupt"
    ),
    Case("garbage after", WHOLE + b"garbage", "garbage"),
    Case("one byte after", WHOLE + b"\x1f", "cut short"),
    Case("garbage after zeros", WHOLE + b"\0" * 700 + b"x", "garbage"),
    Case("a script after", WHOLE + b"#!/bin/sh\nrm -rf /\n", "garbage"),
    Case("another archive after", WHOLE + packed(entry(data=b"evil")), "data after its end"),
    Case("cut second member", WHOLE + gzip.compress(b"\0" * 100)[:-9], "cut short"),
)
