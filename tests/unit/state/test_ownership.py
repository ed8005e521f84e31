from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest

from soci_bootstrap.paths import SOCI_ADDRESS
from soci_bootstrap.plan.items import Restore
from soci_bootstrap.plan.steps import drop_restored, leftovers
from soci_bootstrap.state.backups import back_up, restore, sweep
from soci_bootstrap.state.ownership import PathState, mentions_us, state_of
from soci_bootstrap.state.record import Before, Binary, Managed, Phase, Record
from soci_bootstrap.system import System
from soci_bootstrap.system.tree import ABSENT, Entry
from tests.support.nodes import write

A = "/etc/a"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def node(tmp_path, files) -> System:
    return System(str(write(tmp_path, files)))


def known(system: System, managed: Managed | None, *paths: str) -> Record:
    """A record that remembers these paths as they are now, and manages the first so."""
    record = Record(managed={A: managed} if managed else {})
    for path in paths or (A,):
        record = back_up(system, record, path)
    return record


FILE = Managed("file", 0o644, digest("ours"))


@pytest.mark.parametrize(
    ("before", "managed", "now", "expected"),
    [
        # A file of ours, as install or failing open left it, or as a killed run found it.
        ("theirs", FILE, "ours", PathState.INSTALLED),
        ("theirs", replace(FILE, unwired=digest("unwired")), "unwired", PathState.INSTALLED),
        ("theirs", replace(FILE, earlier=(digest("older"),)), "older", PathState.INSTALLED),
        ("ours", FILE, "ours", PathState.INSTALLED),
        ("theirs", Managed("file"), "a daemon that was about to come", PathState.INSTALLED),
        ("theirs", FILE, "theirs", PathState.ORIGINAL),
        ("theirs", FILE, "theiRs", PathState.MODIFIED),
        ("theirs", FILE, "someone else's", PathState.MODIFIED),
        ("theirs", FILE, None, PathState.MODIFIED),
        ("theirs", FILE, "-> ours", PathState.MODIFIED),
        (None, FILE, None, PathState.ORIGINAL),
        (None, FILE, "someone else's", PathState.MODIFIED),
        # One that we merged into.
        ("theirs", replace(FILE, merged=True), "written anew", PathState.REWRITTEN),
        ("theirs", replace(FILE, merged=True), f"anew, with {SOCI_ADDRESS}", PathState.MODIFIED),
        # A link of ours, and a file that we took away.
        (None, Managed("link", target="x"), "-> x", PathState.INSTALLED),
        (None, Managed("link", target="x"), "-> y", PathState.MODIFIED),
        ("-> y", Managed("link", target="x"), "-> y", PathState.ORIGINAL),
        ("-> y", Managed("link", target="x"), "-> z", PathState.MODIFIED),
        ("theirs", Managed("absent"), None, PathState.INSTALLED),
        ("theirs", Managed("absent"), "theirs", PathState.ORIGINAL),
        ("theirs", Managed("absent"), "another", PathState.MODIFIED),
        # nodeadm's to write.
        ("theirs", None, "theirs", PathState.ORIGINAL),
        ("theirs", None, "another", PathState.MODIFIED),
    ],
)
def test_standing(tmp_path, before, managed, now, expected) -> None:
    system = node(tmp_path, {} if before is None else {A: before})
    record = known(system, managed)
    system.remove(A)
    write(tmp_path, {"/etc": None} if now is None else {A: now})
    assert state_of(system, record, A) is expected


@pytest.mark.parametrize("change", ["mode", "owner", "group"])
def test_another_mode_or_owner_is_another_file(tmp_path, change) -> None:
    system = node(tmp_path, {A: "theirs"})
    record = known(system, FILE)
    entry = record.before[A].entry
    values = {"mode": entry.mode ^ 0o100, "owner": entry.uid + 1, "group": entry.gid + 1}
    field = {"mode": "mode", "owner": "uid", "group": "gid"}[change]
    record = replace(
        record, before={A: Before(replace(entry, **{field: values[change]}), record.before[A].backup)}
    )
    assert state_of(system, record, A) is PathState.MODIFIED


def test_another_owner_of_a_link_is_another_link(tmp_path) -> None:
    system = node(tmp_path, {A: "-> y"})
    record = known(system, FILE)
    entry = record.before[A].entry
    other = replace(record, before={A: Before(replace(entry, uid=entry.uid + 1))})
    assert state_of(system, record, A) is PathState.ORIGINAL
    assert state_of(system, other, A) is PathState.MODIFIED


def test_a_daemon_is_ours_by_what_stat_says(tmp_path) -> None:
    system = node(tmp_path, {A: "daemon"})
    entry = system.entry(A)
    known_as = (entry.size, entry.mtime_ns, entry.inode, entry.ctime_ns)
    binary = Binary(A, "0.15.0", "amd64", "", digest("other"), *known_as)
    record = replace(known(System(str(tmp_path)), Managed("file", 0o755, digest("other"))), binary=binary)
    record = replace(record, before={A: Before(ABSENT)})
    assert state_of(system, record, A) is PathState.INSTALLED
    elsewhere = replace(record, binary=replace(binary, path="/etc/b"))
    assert state_of(system, elsewhere, A) is PathState.MODIFIED
    for name in ("mtime_ns", "ctime_ns", "inode"):
        since = replace(record, binary=replace(binary, **{name: getattr(binary, name) + 1}))
        assert state_of(system, since, A) is PathState.MODIFIED


def test_what_is_ours_and_was_there_before_is_neither_left_over_nor_kept(tmp_path) -> None:
    system = node(tmp_path, {A: "the same"})
    record = back_up(system, Record(), A)
    record = replace(record, managed={A: Managed("file", 0o644, digest("the same"))})
    assert state_of(system, record, A) is PathState.INSTALLED
    nothing = Record(before={"/etc/none": Before(ABSENT)}, managed={"/etc/none": Managed("absent")})
    for path, known_ in ((A, record), ("/etc/none", nothing)):
        assert leftovers(system, known_, ()) == ()
        assert drop_restored(system, known_, ()).managed == {}
        assert drop_restored(system, known_, (path,)) == known_


def test_what_failing_open_puts_where_nothing_is_wanted_is_ours(tmp_path) -> None:
    system = node(tmp_path, {A: "fallback"})
    record = Record(before={A: Before(ABSENT)}, managed={A: Managed("absent", unwired=digest("fallback"))})
    assert state_of(system, record, A) is PathState.INSTALLED
    system.write(A, b"someone else's")
    assert state_of(system, record, A) is PathState.MODIFIED
    system.remove(A)
    assert state_of(system, record, A) is PathState.INSTALLED
    without = replace(record, managed={A: Managed("absent")})
    system.write(A, b"")
    assert state_of(system, without, A) is PathState.MODIFIED


@pytest.mark.parametrize(
    ("address", "text", "expected"),
    [
        (None, SOCI_ADDRESS, True),
        ("", SOCI_ADDRESS, True),
        ("/run/own.sock", f"x{SOCI_ADDRESS}", False),
        ("/run/own.sock", 'address = "/run/own.sock"', True),
        (None, "", False),
    ],
)
def test_mentions_us(tmp_path, address, text, expected) -> None:
    record = Record(wiring={} if address is None else {"address": address})
    assert mentions_us(node(tmp_path, {A: text}), record, A) is expected
    assert not mentions_us(System(str(tmp_path)), record, "/etc/absent")


@pytest.mark.parametrize("before", [None, "theirs", "-> theirs"])
def test_restore(tmp_path, before) -> None:
    system = node(tmp_path, {} if before is None else {A: before})
    if before == "theirs":
        (tmp_path / "etc/a").chmod(0o4750)
    was = system.entry(A)
    record = known(system, FILE)
    system.remove(A)
    if before is None:
        write(tmp_path, {A: "ours"})
    else:
        os.rmdir(tmp_path / "etc")
    restore(system, record, A)
    now = system.entry(A)
    assert (now.kind, now.mode, now.uid, now.gid, now.target) == (
        was.kind,
        was.mode,
        was.uid,
        was.gid,
        was.target,
    )
    assert system.read(A) == (b"theirs" if before == "theirs" else None)


def test_what_is_not_wanted_any_more(tmp_path) -> None:
    paths = ("/etc/a", "/etc/b", "/etc/c", "/etc/d", "/etc/e")
    system = node(tmp_path, dict.fromkeys(paths, "theirs"))
    record = Record()
    for path in paths[:4]:
        record = back_up(system, record, path)
    record = replace(record, managed=dict.fromkeys(paths, FILE), binary=_binary("/etc/c"))
    write(tmp_path, {"/etc/a": "ours", "/etc/b": "ours", "/etc/d": "someone else's"})
    wanted = {"/etc/b"}
    # Ours and not wanted goes; c is as it was, d another's, e was never recorded.
    assert leftovers(system, record, wanted) == (Restore("left-over", "/etc/a", Phase.WIRING),)
    kept = drop_restored(system, record, wanted)
    assert set(kept.managed) == {"/etc/a", "/etc/b", "/etc/d"}
    assert set(kept.before) == {"/etc/a", "/etc/b", "/etc/d"}
    assert kept.binary is None
    assert drop_restored(system, replace(record, binary=_binary("/etc/a")), wanted).binary is not None
    assert drop_restored(system, record, set(paths)) == record


def _binary(path: str) -> Binary:
    return Binary(path, "0.15.0", "amd64", "", "", 1, 1, 1)


def test_sweep(tmp_path) -> None:
    left = ("/etc/.a.soci-bootstrap.tmp", "/etc/.a.soci-bootstrap.kept.tmp")
    hooks = "/etc/.a.hook.tmp"
    others = (
        A,
        "/etc/.b.soci-bootstrap.tmp",
        "/etc/.a.swp",
        "/etc/a.soci-bootstrap.tmp",
        "/etc/.a.soci-bootstrap.tmp.x",
    )
    system = node(tmp_path, dict.fromkeys((*left, hooks, *others), ""))
    sweep(system, (A, "/absent/x"))
    assert {f"/etc/{name}" for name in system.listdir("/etc")} == {hooks, *others}
    sweep(system, (A,), hooks=True)
    assert {f"/etc/{name}" for name in system.listdir("/etc")} == set(others)


def test_entries_are_compared_by_kind(tmp_path) -> None:
    system = node(tmp_path, {A: None})
    record = Record(before={A: Before(Entry("file", system.entry(A).mode, 0, 0))}, managed={A: FILE})
    assert state_of(system, record, A) is PathState.MODIFIED
