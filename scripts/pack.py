"""Write the zipapp to stdout: pack.py SOURCE PARTS COMMIT.

PARTS holds the wheels that the lock files pin: ``pure`` for the code, ``isal`` with one an architecture.
Runs on the node's own Python, 3.9, where scripts/build can have one: the byte code in the archive is
then the node's, and compiler and zlib are the same whatever machine builds. Same input, same bytes:
names sorted, times and modes fixed, nothing taken from locale, umask or clock.
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import struct
import sys
import zipfile

MAGIC_39 = b"\x61\x0d\x0d\x0a"
SHEBANG = b"#!/usr/bin/python3 -I\n"
"""Isolated: nothing of the user's environment or site gets into a program that runs as root."""
MAIN = "from soci_bootstrap.cli import entry\n\nentry()\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
PACKAGES = ("requests", "tomli", "tomli_w", "urllib3")
PRUNED = (
    "requests/help.py",
    "requests/__main__.py",
    "urllib3/contrib/",
    "urllib3/http2/connection.py",
)
"""Modules that nothing imports on a node: foreign platforms, optional TLS stacks, HTTP/2, command lines."""
NOTICE = b"""\
soci-bootstrap is under the Apache License 2.0 (LICENSE). This archive also carries parts of the
packages below, each under its own licence.
"""

Files = dict[str, bytes]


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def below(directory: str, prefix: str) -> Files:
    """Every file below a directory, by its name in the archive."""
    found = {}
    for parent, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name != "__pycache__"]
        for name in names:
            if not name.startswith("."):
                path = os.path.join(parent, name)
                found[prefix + os.path.relpath(path, directory)] = read(path)
    return found


def ours(source: str, commit: str) -> Files:
    files = below(os.path.join(source, "soci_bootstrap"), "soci_bootstrap/")
    files.update(below(os.path.join(source, "systemd"), "soci_bootstrap/data/systemd/"))
    files["soci_bootstrap/data/bootstrap.sh"] = read(os.path.join(source, "scripts", "bootstrap.sh"))
    files["soci_bootstrap/_build.py"] = f'"""Written by scripts/build."""\n\nCOMMIT = "{commit}"\n'.encode()
    files["__main__.py"] = MAIN.encode()
    files["LICENSE"] = read(os.path.join(source, "LICENSE"))
    files.update(below(os.path.join(source, "scripts", "shims"), ""))
    return files


def wheels(directory: str) -> list[str]:
    return [os.path.join(directory, name) for name in sorted(os.listdir(directory))]


def third_party(parts: str) -> tuple[Files, Files]:
    """Take code from the wheels, and the licence texts that go with it."""
    code, licences = {}, {}
    for wheel in [*wheels(os.path.join(parts, "pure")), *wheels(os.path.join(parts, "isal"))]:
        distribution, number = os.path.basename(wheel).split("-")[:2]
        if distribution not in (*PACKAGES, "isal"):
            continue
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                package, base = name.split("/")[0], os.path.basename(name)
                if package in PACKAGES and name.endswith(".py") and not name.startswith(PRUNED):
                    code[name] = archive.read(name)
                elif name.startswith("isal/igzip_lib.cpython-") and name.endswith("-linux-gnu.so"):
                    _, version, machine = base.split("-")[:3]
                    code[f"soci_bootstrap/data/igzip_lib-{version}-{machine}.so"] = archive.read(name)
                elif base.upper().startswith(("LICENSE", "NOTICE")):
                    licences[f"{distribution} {number}: {name}"] = archive.read(name)
    return code, licences


def notice(licences: Files) -> bytes:
    parts = [b"\n==== " + title.encode() + b" ====\n\n" + text for title, text in sorted(licences.items())]
    return NOTICE + b"".join(parts)


def compiled(name: str, source: bytes) -> bytes:
    """Byte code that is used without a look at the source (PEP 552, unchecked)."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return MAGIC_39 + struct.pack("<I", 0b01) + importlib.util.source_hash(source) + marshal.dumps(code)


def pack(files: Files) -> bytes:
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name], compresslevel=9)
    return buffer.getvalue()


def main(source: str, parts: str, commit: str) -> None:
    files, licences = third_party(parts)
    files.update(ours(source, commit))
    files["NOTICE"] = notice(licences)
    if importlib.util.MAGIC_NUMBER == MAGIC_39:
        # Sorted: what marshal writes depends on what was compiled before.
        for name in sorted(files):
            if name.endswith(".py") and "/data/" not in name:
                files[f"{name}c"] = compiled(name, files[name])
    sys.stdout.buffer.write(pack(files))


if __name__ == "__main__":
    main(*sys.argv[1:])
