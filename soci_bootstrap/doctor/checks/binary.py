"""Checks of SOCI's daemon as a file: it is there, it is the one that was verified, it runs here."""

from __future__ import annotations

from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.facts.containerd import parse_version
from soci_bootstrap.fetch import release
from soci_bootstrap.system.tree import Entry

_AGAIN = "run `soci-bootstrap install`: it fetches and verifies it again"


def present(node: Node) -> Finding:
    """There is a file."""
    path = node.daemon.program
    expected = f"a program at {path}"
    entry = node.binary.entry
    if isinstance(entry, Unknown):
        return entry.judged(expected)
    if entry.kind == "absent":
        return fail(f"nothing at {path}", expected, _AGAIN)
    if entry.kind != "file":
        return fail(f"{path} is a {entry.kind}", expected, f"move it away, then {INSTALL[4:]}")
    return ok(f"{path}, {entry.size} bytes", expected)


def executable(node: Node) -> Finding:
    """It has execute permission, on a file system that allows it."""
    expected = "mode 0755, on a file system without noexec"
    entry = node.binary.entry
    mode = entry.mode if isinstance(entry, Entry) else 0
    if not mode & 0o100:
        return fail(f"mode {mode:04o}", expected, f"chmod 755 {node.daemon.program}")
    if node.binary.noexec:
        return fail(
            "its file system is mounted noexec", expected, "mount it without noexec, or bake SOCI elsewhere"
        )
    return ok(f"mode {mode:04o}", expected)


def architecture(node: Node) -> Finding:
    """It was built for this machine."""
    arch, found = node.arch, node.binary.arch
    expected = "a program for this machine" if isinstance(arch, Unknown) else f"a program for {arch}"
    if isinstance(found, Unknown):
        return found.judged(expected)
    if not found or isinstance(arch, Unknown):
        return ok("no ELF header: only running it tells", expected)
    if found != arch:
        return fail(f"a program for {found}", expected, _AGAIN)
    return ok(f"a program for {found}", expected)


def digest(node: Node) -> Finding:
    """Its bytes are those that were verified when it was installed."""
    record, found = node.recorded, node.binary.sha256
    binary = record.binary if record else None
    if binary is None or binary.path != node.daemon.program:
        why = (
            node.record.why
            if isinstance(node.record, Unknown)
            else "not fetched by soci-bootstrap: no digest known"
        )
        return skip(why, "the digest recorded when it was installed")
    expected = f"sha256 {binary.sha256}"
    if isinstance(found, Unknown):
        return found.judged(expected)
    if found != binary.sha256:
        return fail(f"sha256 {found}: the file was changed after it was verified", expected, _AGAIN)
    return ok(f"sha256 {found}", expected)


def runs(node: Node) -> Finding:
    """It starts and ends."""
    expected = "`--version` to end with status 0"
    found = node.binary.version
    if isinstance(found, Unknown):
        if found.remedy:
            return fail(found.why, expected, _AGAIN)
        return found.judged(expected)
    status, output = found
    if status:
        words = output.decode("utf-8", "replace").strip().splitlines()
        return fail(f"status {status}{': ' + words[-1][:200] if words else ''}", expected, _AGAIN)
    return ok("it does", expected)


def version(node: Node) -> Finding:
    """It is the release that was installed, and new enough for parallel pull."""
    record = node.recorded
    binary = record.binary if record else None
    recorded = binary.version if binary and binary.path == node.daemon.program else ""
    minimum = ".".join(map(str, release.MINIMUM))
    expected = recorded or f"{minimum} or newer"
    if isinstance(node.binary.version, Unknown):
        return node.binary.version.judged(expected)
    found = parse_version(node.binary.version[1])
    if found is None:
        return warn("its `--version` names no version", expected, _AGAIN)
    text = ".".join(map(str, found))
    if found < release.MINIMUM:
        return fail(f"{text}, which has no parallel pull", expected, "install a newer one: --soci-version")
    if recorded and text != recorded:
        return warn(text, expected, _AGAIN)
    return ok(text, expected)
