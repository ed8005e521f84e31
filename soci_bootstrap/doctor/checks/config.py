"""Checks of SOCI's config.toml, which the daemon itself reads without complaint whatever it says."""

from __future__ import annotations

import hashlib

from soci_bootstrap.configfiles import soci_rules
from soci_bootstrap.doctor.finding import Finding, Unknown, fail, ok, skip, warn
from soci_bootstrap.doctor.managed import INSTALL, desired
from soci_bootstrap.doctor.observe.node import Node
from soci_bootstrap.system.tree import Entry


def present(node: Node) -> Finding:
    """There is one."""
    path = node.daemon.config
    if isinstance(node.config, Unknown):
        return node.config.judged(path)
    if node.config is None and node.baked:
        return skip("baked: the first boot writes it", path)
    if node.config is None:
        return fail(f"nothing at {path}: SOCI would run with its defaults", path, INSTALL)
    return ok(f"{path}, {len(node.config)} bytes", path)


def parses(node: Node) -> Finding:
    """It is TOML."""
    expected = "a TOML document"
    if isinstance(node.document, Unknown):
        return fail(node.document.why, expected, f"{INSTALL}, which writes it anew")
    return ok(expected, expected)


def rules(node: Node) -> Finding:
    """It says what parallel pull needs, and nothing that SOCI ignores or stops at."""
    expected = "parallel pull on, known keys and values that SOCI takes"
    document = {} if isinstance(node.document, Unknown) else node.document
    problems = soci_rules.validate(document)
    if problems:
        return fail("; ".join(problems), expected, f"{INSTALL}, which writes it anew")
    pull = document["pull_modes"]["parallel_pull_unpack"]
    if pull["enable"] is not True:
        return warn("enable = false: parallel pull is off", expected, "install with --set enable=true")
    return ok("as expected", expected)


def ours(node: Node) -> Finding:
    """It is the file that was written here, for these settings or for this boot's."""
    expected = "the file that install or the boot-time unit wrote"
    record, path = node.recorded, node.daemon.config
    data = None if isinstance(node.config, Unknown) else node.config
    found = hashlib.sha256(data or b"").hexdigest()
    known = [
        managed[path].sha256
        for managed in (record.managed if record else {}, desired(node))
        if path in managed
    ]
    if not known:
        why = node.record.why if isinstance(node.record, Unknown) else "no record of it"
        return skip(why, expected)
    if found not in known:
        return warn(
            f"sha256 {found}: edited",
            f"{expected}, sha256 {known[0]}",
            f"{INSTALL}, which writes it anew; to keep a change, install with --set KEY=VALUE",
        )
    return ok(f"sha256 {found}", expected)


def decompressor_present(node: Node) -> Finding:
    """The program that it names is there: the daemon stops at one that isn't."""
    path = node.decompressor
    if not path:
        return ok("none named: SOCI takes what it finds in its PATH", "a regular executable file, or none")
    expected = f"{path}, a regular executable file"
    entry = node.decompressor_entry
    if not isinstance(entry, Entry):
        return entry.judged(expected)
    if entry.kind == "absent":
        return fail(f"nothing at {path}: the daemon does not start without it", expected, INSTALL)
    if entry.kind != "file" or not entry.mode & 0o111:
        return fail(
            f"a {entry.kind} of mode {entry.mode:04o}", expected, f"chmod 755 {path}, or {INSTALL[4:]}"
        )
    return ok(path, expected)


def decompressor_works(node: Node) -> Finding:
    """It inflates a known stream and refuses a broken one: a wrong one fails every pull."""
    expected = "known streams inflated, broken ones refused"
    found = node.decompressor_works
    if not node.decompressor:
        return ok("none named", expected)
    if isinstance(found, Unknown):
        return found.judged(expected)
    if found:
        return fail(
            f"{found}; so every pull of a gzip layer fails",
            expected,
            f"{INSTALL}, which takes another; one that was given by its path is yours to repair",
        )
    return ok("as expected", expected)
