"""Write the zipapp to stdout: pack.py SOURCE THIRD_PARTY WHEELS COMMIT.

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
MAIN = "from soci_bootstrap.cli import entry\n\nentry()\n"
EPOCH = (1980, 1, 1, 0, 0, 0)
PACKAGES = ("requests", "urllib3", "tomli", "tomli_w")
PRUNED = (
    "requests/help.py",
    "requests/__main__.py",
    "urllib3/contrib/",
    "urllib3/http2/connection.py",
)
"""What nothing imports on a node: foreign platforms, optional TLS stacks, HTTP/2, command lines."""

Files = dict[str, bytes]


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def below(directory: str, prefix: str = "") -> Files:
    """Every file below a directory, links followed, by its name in the archive."""
    found = {}
    for parent, directories, names in os.walk(directory, followlinks=True):
        directories[:] = [name for name in directories if name != "__pycache__"]
        for name in names:
            if not name.startswith("."):
                path = os.path.join(parent, name)
                found[prefix + os.path.relpath(path, directory)] = read(path)
    return found


def ours(source: str, commit: str) -> Files:
    files = below(os.path.join(source, "soci_bootstrap"), "soci_bootstrap/")
    files["soci_bootstrap/_build.py"] = f'"""Written by scripts/build."""\n\nCOMMIT = "{commit}"\n'.encode()
    files["__main__.py"] = MAIN.encode()
    files["LICENSE"] = read(os.path.join(source, "LICENSE"))
    files.update(below(os.path.join(source, "scripts", "shims")))
    return files


def third_party(directory: str) -> Files:
    files = {}
    for package in PACKAGES:
        found = below(os.path.join(directory, package), f"{package}/")
        files.update({n: d for n, d in found.items() if n.endswith(".py") and not n.startswith(PRUNED)})
    return files


def carried(wheels: str) -> Files:
    """``igzip_lib`` of each wheel, one wheel an architecture, as data of our package."""
    files = {}
    for wheel in sorted(os.listdir(wheels)):
        with zipfile.ZipFile(os.path.join(wheels, wheel)) as archive:
            for name in archive.namelist():
                module, _, suffix = name.partition("igzip_lib.cpython-")
                if module == "isal/" and suffix.endswith("-linux-gnu.so"):
                    python, machine = suffix.split("-")[:2]
                    files[f"soci_bootstrap/data/igzip_lib-{python}-{machine}.so"] = archive.read(name)
    return files


def notice(directory: str, wheels: str) -> bytes:
    """The licences of everything in the archive that is not ours."""
    texts = {}
    for entry in sorted(os.listdir(directory)):
        package = entry.partition("-")[0]
        if entry.endswith(".dist-info") and package in PACKAGES:
            for name, data in below(os.path.join(directory, entry)).items():
                if os.path.basename(name).upper().startswith(("LICENSE", "NOTICE")):
                    texts[f"{entry[: -len('.dist-info')].replace('-', ' ')}: {os.path.basename(name)}"] = data
    wheel = sorted(os.listdir(wheels))[0]
    with zipfile.ZipFile(os.path.join(wheels, wheel)) as archive:
        for name in archive.namelist():
            if name.endswith("/LICENSE"):
                what = "ISA-L" if "isa-l/" in name else f"python-isal {wheel.split('-')[1]}"
                texts[f"{what}: LICENSE"] = archive.read(name)
    head = b"soci-bootstrap is under the Apache License 2.0 (LICENSE). It also carries, as published:\n"
    parts = [b"\n==== " + title.encode() + b" ====\n\n" + text for title, text in sorted(texts.items())]
    return head + b"".join(parts)


def compiled(name: str, source: bytes) -> bytes:
    """Byte code that is used without a look at the source (PEP 552, unchecked)."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    return MAGIC_39 + struct.pack("<I", 0b01) + importlib.util.source_hash(source) + marshal.dumps(code)


def pack(files: Files, stored: bool = False) -> bytes:
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[name], compresslevel=9)
    return buffer.getvalue()


def main(source: str, directory: str, wheels: str, commit: str) -> None:
    files = {**third_party(directory), **ours(source, commit), **carried(wheels)}
    files["NOTICE"] = notice(directory, wheels)
    if importlib.util.MAGIC_NUMBER == MAGIC_39:
        # Sorted: what marshal writes depends on what was compiled before.
        for name in sorted(files):
            if name.endswith(".py") and "/data/" not in name:
                files[f"{name}c"] = compiled(name, files[name])
    sys.stdout.buffer.write(pack(files))


if __name__ == "__main__":
    main(*sys.argv[1:])
