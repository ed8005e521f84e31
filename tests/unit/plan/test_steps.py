from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from soci_bootstrap.apply.files import FileChanges
from soci_bootstrap.configfiles.containerd import NamedSoci
from soci_bootstrap.facts import AmiSoci
from soci_bootstrap.facts.kubelet import Kubelet
from soci_bootstrap.facts.nodeconfig import NodeConfig
from soci_bootstrap.fetch import release
from soci_bootstrap.paths import DAEMON, SOCI_SERVICE, SOCI_SOCKET
from soci_bootstrap.plan import decompressor
from soci_bootstrap.plan.desired import Desired, desired_state
from soci_bootstrap.plan.items import Absent, Daemon, File, Link, Restore
from soci_bootstrap.plan.steps import Action, Observed, Step, compare, file_steps, observe
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Binary, Outcome, Phase, Record
from soci_bootstrap.system import System
from soci_bootstrap.system.systemd import UnitState
from soci_bootstrap.system.tree import ABSENT, Entry
from tests.support.known import FACTS, OTHER, facts
from tests.support.nodes import write

NEWEST = release.NEWEST
PINNED = release.pinned_digest(NEWEST, "amd64")
BINARY = Binary(DAEMON, NEWEST, "amd64", str(PINNED), "f" * 64, 9, 5, 7)


@pytest.fixture(autouse=True)
def no_library(monkeypatch):
    """As in a checkout; what we carry has tests of its own."""
    monkeypatch.setattr(decompressor, "carried", lambda arch, python: None)


def wanted(found=FACTS, record=None, **changes) -> Desired:
    return desired_state(Settings(command="install", **changes), found, b"agent", record)


# -- what differs -------------------------------------------------------------------------------

FILE = File("x", "/etc/x", b"new", Phase.CONFIGURATION)
LINK = Link("x", "/etc/x", "/target", Phase.CONFIGURATION)
DAEMON_ITEM = Daemon("binary", DAEMON, NEWEST, "amd64", PINNED)
STANDS = Entry("file", 0o755, size=9, mtime_ns=5, inode=7)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("item", "entry", "sha256", "record", "changed"),
    [
        (FILE, ABSENT, "", None, True),
        (FILE, Entry("file", 0o644, size=3), digest(b"new"), None, False),
        (FILE, Entry("file", 0o644, size=3), digest(b"old"), None, True),
        (FILE, Entry("file", 0o644, size=4), "", None, True),
        (FILE, Entry("file", 0o600, size=3), digest(b"new"), None, True),
        (FILE, Entry("link", target="/y"), "", None, True),
        (FILE, Entry("dir", 0o644), "", None, True),
        (LINK, Entry("link", target="/target"), "", None, False),
        (LINK, Entry("link", target="/other"), "", None, True),
        (LINK, Entry("file"), "", None, True),
        (LINK, ABSENT, "", None, True),
        (Absent("x", "/etc/x", Phase.WIRING), ABSENT, "", None, False),
        (Absent("x", "/etc/x", Phase.WIRING), Entry("file"), "", None, True),
        (Absent("x", "/etc/x", Phase.WIRING), Entry("link", target="/dev/null"), "", None, True),
        (Restore("x", "/etc/x", Phase.WIRING), ABSENT, "", None, True),
        (DAEMON_ITEM, STANDS, "", Record(binary=BINARY), False),
        (DAEMON_ITEM, STANDS, "", None, True),
        (DAEMON_ITEM, STANDS, "", Record(), True),
        (DAEMON_ITEM, ABSENT, "", Record(binary=BINARY), True),
        (DAEMON_ITEM, replace(STANDS, mode=0o700), "", Record(binary=BINARY), True),
        (DAEMON_ITEM, replace(STANDS, inode=8), "", Record(binary=BINARY), True),
        (DAEMON_ITEM, replace(STANDS, size=8), "", Record(binary=BINARY), True),
        (DAEMON_ITEM, replace(STANDS, mtime_ns=6), "", Record(binary=BINARY), True),
        (DAEMON_ITEM, STANDS, "", Record(binary=replace(BINARY, version="0.11.1")), True),
        (DAEMON_ITEM, STANDS, "", Record(binary=replace(BINARY, arch="arm64")), True),
        (DAEMON_ITEM, STANDS, "", Record(binary=replace(BINARY, archive_sha256="0" * 64)), True),
        (
            replace(DAEMON_ITEM, sha256=None),
            STANDS,
            "",
            Record(binary=replace(BINARY, archive_sha256="x")),
            False,
        ),
    ],
)
def test_differs(item, entry, sha256, record, changed) -> None:
    (step,) = file_steps((item,), {item.path: Observed(entry, sha256)}, record)
    assert step == Step(item.name, item.path, changed, item)


def test_a_file_of_another_is_ours_to_correct(monkeypatch) -> None:
    found = {FILE.path: Observed(Entry("file", 0o644, uid=12, size=3), digest(b"new"))}
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert file_steps((FILE,), found, None)[0].changed
    monkeypatch.setattr("os.geteuid", lambda: 12)
    assert not file_steps((FILE,), found, None)[0].changed


def test_what_is_observed(tmp_path) -> None:
    system = System(
        str(write(tmp_path, {"/etc/x": "old", "/etc/y": "longer", "/etc/l": "-> x", DAEMON: "daemon"}))
    )
    items = (
        FILE,
        replace(FILE, path="/etc/y"),
        replace(FILE, path="/etc/none"),
        replace(FILE, path="/etc/l"),
        DAEMON_ITEM,
    )
    found = observe(system, items, None)
    assert found["/etc/x"].sha256 == digest(b"old")
    assert [found[path].sha256 for path in ("/etc/y", "/etc/none", "/etc/l", DAEMON)] == [""] * 4
    assert found["/etc/l"].entry.kind == "link"


# -- what systemd is told -----------------------------------------------------------------------

DONE = {SOCI_SERVICE: UnitState("active"), SOCI_SOCKET: UnitState("active")}
STOPPED = {SOCI_SERVICE: UnitState("inactive"), SOCI_SOCKET: UnitState("active")}
CONTAINERD = {"containerd.service": UnitState("active")}
STALE = {"kubelet.service": UnitState("active", needs_reload=True)}
TESTED = ("self-test", "preflight")
WIRED = Record(outcome=Outcome.INSTALLED, binary=BINARY, wiring={"mode": "nodeadm"})


@pytest.mark.parametrize(
    ("changed", "units", "record", "pending"),
    [
        ((), DONE, WIRED, ()),
        ((), DONE, replace(WIRED, outcome=Outcome.STAGED), ()),
        (("service",), DONE, WIRED, ("daemon-reload", *TESTED, "service-restarted")),
        (("containerd-drop-in",), DONE, WIRED, ("daemon-reload", *TESTED)),
        (("config",), DONE, WIRED, (*TESTED, "service-restarted")),
        (("binary",), DONE, WIRED, (*TESTED, "service-restarted")),
        (("wiring",), DONE, WIRED, ("preflight",)),
        (("agent",), DONE, WIRED, ()),
        ((), {**DONE, **STALE}, WIRED, ("daemon-reload",)),
        ((), {}, WIRED, ("socket-started",)),
        ((), {**STOPPED, SOCI_SOCKET: UnitState("failed")}, WIRED, ("socket-started",)),
        # systemd starts no socket whose service runs.
        (
            (),
            {**DONE, SOCI_SOCKET: UnitState("failed")},
            WIRED,
            ("socket-started", "service-restarted"),
        ),
        (("config",), STOPPED, WIRED, TESTED),
        (
            ("config",),
            {**DONE, SOCI_SERVICE: UnitState("activating")},
            WIRED,
            (*TESTED, "service-restarted"),
        ),
        # The daemon of a containerd that runs with it; else containerd's start starts it.
        ((), {**STOPPED, **CONTAINERD}, WIRED, ("service-started",)),
        ((), {**DONE, **CONTAINERD}, WIRED, ()),
        ((), {**STOPPED, **CONTAINERD}, replace(WIRED, outcome=Outcome.STAGED), ()),
        ((), {**STOPPED, **CONTAINERD}, replace(WIRED, wiring={}), ()),
        ((), DONE, replace(WIRED, outcome=Outcome.FAILED), TESTED),
        ((), DONE, replace(WIRED, outcome=Outcome.BAKED), TESTED),
        ((), DONE, replace(WIRED, outcome=Outcome.AT_WORK), TESTED),
        ((), STOPPED, None, TESTED),
    ],
)
def test_actions(changed, units, record, pending) -> None:
    found = facts(units=units)
    desired = wanted(found)
    observed = {item.path: _as_wanted(item, item.name in changed) for item in desired.items}
    made = compare(desired, observed, found, record, self_test="self-test" in pending)
    assert tuple(step.name for step in made.pending if step.item is None) == pending
    assert {step.name for step in made.pending if step.item} == (
        {"binary"} if record is None else set(changed)
    )
    assert {action.value for action in Action if made.changes(action)} == set(pending)


def _as_wanted(item, changed: bool) -> Observed:
    if changed:
        return Observed(ABSENT)
    if isinstance(item, Link):
        return Observed(Entry("link", target=item.target))
    if isinstance(item, Daemon):
        return Observed(STANDS)
    return Observed(Entry("file", item.mode), digest(item.data))


def test_an_image_is_told_nothing() -> None:
    found = facts(live=False)
    desired = wanted(found)
    made = compare(desired, {item.path: Observed(ABSENT) for item in desired.items}, found, None)
    assert all(step.item is not None for step in made.steps)
    assert len(made.pending) == len(desired.items)


# -- the property: what was applied is not wanted again -----------------------------------------

AMI = AmiSoci(
    service=True,
    socket=True,
    address="/run/s.sock",
    binary="/usr/bin/soci-snapshotter-grpc",
    version=(0, 12, 0),
)
UNPIGZ = {"unpigz": "/usr/bin/unpigz"}
VARIED = st.builds(
    replace,
    st.sampled_from([FACTS, OTHER]),
    arch=st.sampled_from(["amd64", "arm64"]),
    node_config=st.builds(
        NodeConfig,
        containerd=st.booleans(),
        v3=st.booleans(),
        gate=st.booleans(),
        static=st.sampled_from([None, NamedSoci("", ""), NamedSoci("/run/u.sock", "/mnt/soci")]),
        image_endpoint=st.sampled_from(["", "unix:///run/u.sock"]),
    ),
    ami=st.sampled_from([AmiSoci(), AMI, replace(AMI, version=None), AmiSoci(service=True)]),
    kubelet=st.sampled_from(
        [
            Kubelet(False),
            Kubelet(True),
            Kubelet(True, config_dir="/etc/k.d"),
            Kubelet(True, config=b'{"a": 1}'),
        ]
    ),
    programs=st.sampled_from([{}, UNPIGZ, {**UNPIGZ, "igzip": "/usr/bin/igzip"}]),
)
ASKED = st.fixed_dictionaries(
    {
        "wiring": st.sampled_from(["auto", "direct", "none"]),
        "snapshotter_root": st.sampled_from([None, "/mnt/asked"]),
        "decompressor": st.sampled_from(["auto", "none", "/opt/x"]),
    }
)


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(found=VARIED, asked=ASKED)
def test_what_was_applied_is_not_wanted_again(tmp_path_factory, found, asked) -> None:
    system = System(str(tmp_path_factory.mktemp("node")))
    found = replace(found, live=False)
    desired = wanted(found, **asked)
    applier = FileChanges(system, Record())
    made = compare(desired, observe(system, desired.items, None), found, None)
    assert made.pending
    applier.prepare(made.steps)
    record = applier.record
    for step in made.pending:
        if isinstance(step.item, Daemon):
            system.mkdir("/usr/local/bin")
            system.write(DAEMON, b"daemon", 0o755)
            entry = system.entry(DAEMON)
            item = step.item
            record = replace(
                record,
                binary=Binary(
                    DAEMON,
                    item.version,
                    item.arch,
                    item.sha256 or "",
                    "",
                    entry.size,
                    entry.mtime_ns,
                    entry.inode,
                    entry.ctime_ns,
                ),
            )
        else:
            applier.put(step)
    again = wanted(found, record, **asked)
    assert compare(again, observe(system, again.items, record), found, record).pending == ()
