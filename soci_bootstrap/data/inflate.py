"""Inflate gzip from stdin to stdout with ISA-L, and do nothing else.

SOCI starts this as root for every layer of every image, so what arrives is hostile until its digest
is known: privileges go before the first byte is read, and memory does not depend on the input.
"""

import fcntl
import os
import sys

TYPE_CHECKING = False  # typing is an import of several milliseconds
if TYPE_CHECKING:
    from types import ModuleType

NOBODY = 65534
PIPE = 1 << 20
F_SETPIPE_SZ = 1031  # fcntl names it from Python 3.10 on
READ = 1 << 18
WRITE = 1 << 20
PLAIN = 10
HEADER = 1 << 17
"""Bytes, more than any sane header of a member has: the library fails on some that come in two pieces."""


def main() -> None:
    """Status 0 for one or more whole members, with or without zeros after them; else 1."""
    # The library's file name carries the Python version and architecture that it is for, so no
    # other Python ever finds it.
    sys.path[:0] = [os.path.dirname(__file__)]
    try:
        import igzip_lib
    except ImportError:
        give_up()
    del sys.path[0]
    drop_privileges()
    for fd in (0, 1):
        try:  # noqa: SIM105 - contextlib is an import that costs as much as all of this
            fcntl.fcntl(fd, F_SETPIPE_SZ, PIPE)
        except OSError:
            pass  # not a pipe, or the user's pipes are at their limit
    try:
        inflate(igzip_lib)
    except (OSError, EOFError, igzip_lib.IsalError) as error:
        sys.stderr.write(f"soci-bootstrap gunzip: {error}\n")
        sys.exit(1)


def give_up() -> None:
    """Another Python than the library's: let the usual programs do it."""
    for argv in (["unpigz", "-dc"], ["gzip", "-dc"]):
        try:
            os.execvp(argv[0], argv)  # noqa: S606
        except OSError:
            continue
    sys.exit("soci-bootstrap gunzip: no igzip_lib for this Python, no unpigz, no gzip")


def drop_privileges() -> None:
    """From root to nobody; what is read and written is open already."""
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        pass  # not root: nothing to drop


def inflate(igzip_lib: "ModuleType") -> None:
    """Member after member; raises on a stream that is cut, corrupt or followed by anything but zeros."""
    data = os.read(0, READ)
    if not data:
        raise EOFError("empty input")
    while data:
        data = fill(data)
        member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        while True:
            write(member.decompress(data, WRITE))
            if member.eof:
                break
            data = b""
            if member.needs_input:
                data = os.read(0, READ)
                if not data:
                    raise EOFError("the stream ends too early")
        data = member.unused_data.lstrip(b"\0")
        while not data:
            block = os.read(0, READ)
            if not block:
                return
            data = block.lstrip(b"\0")


def fill(data: bytes) -> bytes:
    """At least a whole header of a member, or all that there is; a plain one is ten bytes."""
    while len(data) < HEADER if data[3:4] != b"\0" else len(data) < PLAIN:
        block = os.read(0, READ)
        if not block:
            break
        data += block
    return data


def write(data: bytes) -> None:
    """All of it, however little the pipe takes at once."""
    done = os.write(1, data) if data else 0
    while done < len(data):
        done += os.write(1, memoryview(data)[done:])


main()
