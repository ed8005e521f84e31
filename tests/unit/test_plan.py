from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from known import FACTS, OTHER, facts
from nodes import write

from soci_bootstrap import decompressor, plan, releases, toml
from soci_bootstrap.apply import Applier
from soci_bootstrap.containerd import NamedSoci
from soci_bootstrap.contentstore import ContentStore
from soci_bootstrap.decompressor import CarriedFile
from soci_bootstrap.errors import DecompressorError, UsageError, WiringError
from soci_bootstrap.facts import SERVICE, SOCKET, AmiSoci, UnitState
from soci_bootstrap.items import Daemon, File, Gone, Link, Phase, Restored
from soci_bootstrap.kubelet import Kubelet
from soci_bootstrap.nodeconfig import NodeConfig
from soci_bootstrap.plan import (
    CONFIG,
    DAEMON,
    GATE_CONFIG,
    Observed,
    Step,
    compare,
    desire,
    file_steps,
    observe,
)
from soci_bootstrap.record import Binary, Record
from soci_bootstrap.settings import Settings
from soci_bootstrap.system import System
from soci_bootstrap.tree import ABSENT, Entry

SETTINGS = Settings(command="install")
NEWEST = releases.NEWEST
PINNED = releases.pinned_digest(NEWEST, "amd64")
OTHER_DIGEST = "0" * 64
AMI = AmiSoci(
    service=True,
    socket=True,
    address="/run/s.sock",
    binary="/usr/bin/soci-snapshotter-grpc",
    version=(0, 12, 0),
)
CARRIED = (CarriedFile("/usr/local/libexec/soci-bootstrap/gunzip", b"#!/bin/sh\n", 0o755),)
BINARY = Binary(DAEMON, NEWEST, "amd64", str(PINNED), "f" * 64, 9, 5, 7)


@pytest.fixture(autouse=True)
def no_library(monkeypatch):
    """As in a checkout; what we carry has tests of its own."""
    monkeypatch.setattr(plan.carried_, "carried", lambda arch, python: None)


@pytest.fixture
def a_library(monkeypatch):
    monkeypatch.setattr(plan.carried_, "carried", lambda arch, python: CARRIED)


def wanted(found=FACTS, record=None, excluded=frozenset(), **changes) -> plan.Desired:
    return desire(replace(SETTINGS, **changes), found, b"agent", record, excluded)


def config(desired: plan.Desired) -> dict:
    (item,) = [item for item in desired.items if item.name == "config"]
    assert isinstance(item, File)
    assert item.path == desired.config
    return toml.loads(item.data, "x")["pull_modes"]["parallel_pull_unpack"]


def names(desired: plan.Desired) -> list[str]:
    return [item.name for item in desired.items]


# -- what is wanted -----------------------------------------------------------------------------


def test_an_eks_node() -> None:
    desired = wanted()
    assert names(desired) == [
        "agent",
        "boot-unit",
        "boot-unit-enabled",
        "binary",
        "config",
        "service",
        "service-drop-in",
        "socket",
        "containerd-drop-in",
        "socket-enabled",
        "service-enabled",
        "wiring",
    ]
    assert (desired.daemon, desired.config, desired.version, desired.sha256) == (
        DAEMON,
        CONFIG,
        NEWEST,
        PINNED,
    )
    phases = [item.phase for item in desired.items]
    assert phases == sorted(phases)
    assert len({item.path for item in desired.items}) == len(desired.items)


@pytest.mark.parametrize(
    ("found", "version", "digest"),
    [(FACTS, NEWEST, PINNED), (facts(arch="arm64"), NEWEST, releases.pinned_digest(NEWEST, "arm64"))],
)
def test_the_architectures_own_release(found, version, digest) -> None:
    (item,) = [item for item in wanted(found).items if isinstance(item, Daemon)]
    assert (item.arch, item.version, item.sha256) == (found.arch, version, digest)
    assert digest


@pytest.mark.parametrize(
    ("version", "asked", "record", "changes", "expected"),
    [
        # The AMI's own serves where it is new enough for what was asked.
        ((0, 12, 0), None, None, {}, "0.12.0"),
        ((0, 11, 0), None, None, {}, "0.11.0"),
        ((0, 12, 0), "0.11.1", None, {}, "0.12.0"),
        ((0, 10, 9), None, None, {}, None),
        ((0, 12, 0), "0.15.0", None, {}, None),
        (None, None, None, {}, None),
        ((0, 12, 0), None, None, {"tarball": "/t.tgz"}, None),
        ((0, 12, 0), None, None, {"sha256": OTHER_DIGEST}, None),
        # Once one was fetched it stays.
        ((0, 12, 0), None, Record(binary=BINARY), {}, None),
    ],
)
def test_the_amis_daemon(version, asked, record, changes, expected) -> None:
    desired = wanted(facts(ami=replace(AMI, version=version)), record, soci_version=asked, **changes)
    fetched = [item for item in desired.items if isinstance(item, Daemon)]
    if expected is None:
        assert (desired.daemon, desired.version, len(fetched)) == (DAEMON, asked or NEWEST, 1)
    else:
        assert (desired.daemon, desired.version, desired.sha256, fetched) == (AMI.binary, expected, None, [])


@pytest.mark.parametrize(
    ("record", "changes", "digest"),
    [
        (None, {"sha256": OTHER_DIGEST}, OTHER_DIGEST),
        (None, {"soci_version": "0.99.0"}, None),
        (Record(binary=replace(BINARY, archive_sha256=OTHER_DIGEST)), {}, OTHER_DIGEST),
        (Record(binary=replace(BINARY, archive_sha256=OTHER_DIGEST)), {"sha256": "1" * 64}, "1" * 64),
        (Record(binary=replace(BINARY, archive_sha256=OTHER_DIGEST, version="0.11.1")), {}, PINNED),
        (Record(binary=replace(BINARY, archive_sha256=OTHER_DIGEST, arch="arm64")), {}, PINNED),
    ],
)
def test_digests(record, changes, digest) -> None:
    assert wanted(FACTS, record, **changes).sha256 == digest


def test_a_version_that_is_too_old() -> None:
    with pytest.raises(UsageError):
        wanted(facts(ami=AMI), soci_version="0.10.0")


def test_the_gates_config_is_the_gates() -> None:
    desired = wanted(facts(node_config=NodeConfig(gate=True)))
    assert desired.config == GATE_CONFIG
    drop_in = next(item for item in desired.items if item.name == "service-drop-in")
    assert isinstance(drop_in, File)
    assert f"--config {GATE_CONFIG}".encode() in drop_in.data
    assert "gate-drop-in" in names(desired)


@pytest.mark.parametrize(
    ("store", "discard"), [(ContentStore(), True), (ContentStore(foreign_layer="sha256:ab"), False)]
)
def test_the_discard_rule(store, discard) -> None:
    assert config(wanted(facts(store=store)))["discard_unpacked_layers"] is discard


def test_the_discard_rule_is_one_by_version(monkeypatch) -> None:
    found = facts(store=ContentStore(foreign_layer="sha256:ab"))
    monkeypatch.setattr(plan, "DISCARD_FIXED_IN", (0, 15, 1))
    assert config(wanted(found, soci_version="0.15.1"))["discard_unpacked_layers"] is True
    assert config(wanted(found, soci_version="0.15.0"))["discard_unpacked_layers"] is False


def test_what_is_set_goes_first() -> None:
    found = facts(store=ContentStore())
    pull = config(
        wanted(found, parallel_pull={"discard_unpacked_layers": False, "max_concurrent_unpacks_per_image": 3})
    )
    assert (pull["discard_unpacked_layers"], pull["max_concurrent_unpacks_per_image"]) == (False, 3)


# -- pre-pulled images --------------------------------------------------------------------------

PREPULLED = ContentStore(overlayfs_snapshots=3)
ELSEWHERE = facts(containerd={"soci": NamedSoci("", "/mnt/soci")})
RUNNING = {"containerd.service": UnitState("active", loaded=True)}


@pytest.mark.parametrize(
    ("found", "record", "force", "refused"),
    [
        (facts(store=PREPULLED), None, False, True),
        (facts(store=PREPULLED), Record(), False, True),
        (facts(store=PREPULLED, units={"containerd.service": UnitState("inactive")}), None, False, True),
        (facts(store=PREPULLED), None, True, False),
        (facts(store=PREPULLED), Record(wiring={"mode": "nodeadm"}), False, False),
        (facts(store=PREPULLED, units=RUNNING), None, False, False),
        (FACTS, None, False, False),
        # Pulled by this node itself after it failed open.
        (facts(store=PREPULLED), Record(prepulled=0), False, False),
        (facts(store=PREPULLED), Record(prepulled=2), False, True),
    ],
)
def test_images_on_overlayfs(found, record, force, refused) -> None:
    if not refused:
        wanted(found, record, force=force)
        return
    with pytest.raises(WiringError, match="pre-pulled on overlayfs"):
        wanted(found, record, force=force)


def test_images_below_another_root_of_soci() -> None:
    assert wanted(ELSEWHERE).wiring.root == "/mnt/soci"
    assert wanted(ELSEWHERE, snapshotter_root="/mnt/soci").wiring.root == "/mnt/soci"
    with pytest.raises(WiringError, match="use --snapshotter-root /mnt/soci, or drain"):
        wanted(ELSEWHERE, snapshotter_root="/mnt/other", force=True)


# -- decompressors ------------------------------------------------------------------------------

BOTH = {"igzip": "/usr/bin/igzip", "unpigz": "/usr/bin/unpigz"}
UNPIGZ = {"unpigz": "/usr/bin/unpigz"}


@pytest.mark.usefixtures("a_library")
@pytest.mark.parametrize(
    ("programs", "excluded", "asked", "kind", "path"),
    [
        (BOTH, (), "auto", "igzip", "/usr/bin/igzip"),
        (UNPIGZ, (), "auto", "isal", decompressor.SCRIPT),
        ({}, (), "auto", "isal", decompressor.SCRIPT),
        (UNPIGZ, ("isal",), "auto", "unpigz", "/usr/bin/unpigz"),
        (UNPIGZ, ("isal", "unpigz"), "auto", "none", None),
        (BOTH, ("igzip",), "auto", "isal", decompressor.SCRIPT),
        (BOTH, (), "unpigz", "unpigz", "/usr/bin/unpigz"),
        (BOTH, (), "isal", "isal", decompressor.SCRIPT),
        (BOTH, (), "none", "none", None),
        ({}, (), "/opt/gunzip", "path", "/opt/gunzip"),
    ],
)
def test_decompressor(programs, excluded, asked, kind, path) -> None:
    desired = wanted(facts(programs=programs), None, frozenset(excluded), decompressor=asked)
    assert (desired.decompressor.kind, desired.decompressor.path) == (kind, path)
    assert config(desired).get("decompress_streams", {}).get("gzip", {}).get("path") == path
    brought = [item.path for item in desired.items if item.name == "decompressor"]
    assert brought == ([CARRIED[0].path] if kind == "isal" else [])


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (facts(programs=UNPIGZ), "unpigz"),
        (facts(programs=BOTH), "igzip"),
        (facts(programs={}), "none"),
        (facts(python=None, programs=UNPIGZ), "unpigz"),
    ],
)
def test_without_a_library_for_this_python(found, kind) -> None:
    assert wanted(found).decompressor.kind == kind


@pytest.mark.usefixtures("a_library")
def test_without_python_ours_is_none() -> None:
    assert wanted(facts(python=None, programs=UNPIGZ)).decompressor.kind == "unpigz"


def test_arguments_of_a_path() -> None:
    assert wanted(decompressor="/opt/x", decompressor_args=("-d",)).decompressor.args == ("-d",)


@pytest.mark.parametrize(
    ("asked", "excluded", "found"),
    [
        ("igzip", (), "it is not here"),
        ("isal", (), "it is not here"),
        ("unpigz", ("unpigz",), "it failed its self-test"),
    ],
)
def test_a_decompressor_that_can_not_be_used(asked, excluded, found) -> None:
    with pytest.raises(DecompressorError) as caught:
        wanted(facts(programs=UNPIGZ), None, frozenset(excluded), decompressor=asked)
    assert caught.value.found == found
    assert "--decompressor auto" in caught.value.remedy


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
        (Gone("x", "/etc/x", Phase.WIRING), ABSENT, "", None, False),
        (Gone("x", "/etc/x", Phase.WIRING), Entry("file"), "", None, True),
        (Gone("x", "/etc/x", Phase.WIRING), Entry("link", target="/dev/null"), "", None, True),
        (Restored("x", "/etc/x", Phase.WIRING), ABSENT, "", None, True),
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
        (DAEMON_ITEM, STANDS, "", Record(binary=replace(BINARY, archive_sha256=OTHER_DIGEST)), True),
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
    found = observe(system, items)
    assert found["/etc/x"].sha256 == digest(b"old")
    assert [found[path].sha256 for path in ("/etc/y", "/etc/none", "/etc/l", DAEMON)] == [""] * 4
    assert found["/etc/l"].entry.kind == "link"


# -- what systemd is told -----------------------------------------------------------------------

DONE = {SERVICE: UnitState("active", True), SOCKET: UnitState("active", True)}
STOPPED = {SERVICE: UnitState("inactive", True), SOCKET: UnitState("active", True)}
CONTAINERD = {"containerd.service": UnitState("active", True)}
STALE = {"kubelet.service": UnitState("active", True, needs_reload=True)}
TESTED = ("self-test", "preflight")
WIRED = Record(outcome="installed", binary=BINARY, wiring={"mode": "nodeadm"})


@pytest.mark.parametrize(
    ("changed", "units", "record", "pending"),
    [
        ((), DONE, WIRED, ()),
        ((), DONE, replace(WIRED, outcome="staged"), ()),
        (("service",), DONE, WIRED, ("daemon-reload", *TESTED, "service-restarted")),
        (("containerd-drop-in",), DONE, WIRED, ("daemon-reload", *TESTED)),
        (("config",), DONE, WIRED, (*TESTED, "service-restarted")),
        (("binary",), DONE, WIRED, (*TESTED, "service-restarted")),
        (("wiring",), DONE, WIRED, ("preflight",)),
        (("agent",), DONE, WIRED, ()),
        ((), {**DONE, **STALE}, WIRED, ("daemon-reload",)),
        ((), {}, WIRED, ("socket-started",)),
        ((), {**STOPPED, SOCKET: UnitState("failed", True)}, WIRED, ("socket-started",)),
        # systemd starts no socket whose service runs.
        ((), {**DONE, SOCKET: UnitState("failed", True)}, WIRED, ("socket-started", "service-restarted")),
        (("config",), STOPPED, WIRED, TESTED),
        (
            ("config",),
            {**DONE, SERVICE: UnitState("activating", True)},
            WIRED,
            (*TESTED, "service-restarted"),
        ),
        # The daemon of a containerd that runs with it; else containerd's start starts it.
        ((), {**STOPPED, **CONTAINERD}, WIRED, ("service-started",)),
        ((), {**DONE, **CONTAINERD}, WIRED, ()),
        ((), {**STOPPED, **CONTAINERD}, replace(WIRED, outcome="staged"), ()),
        ((), {**STOPPED, **CONTAINERD}, replace(WIRED, wiring={}), ()),
        ((), DONE, replace(WIRED, outcome="degraded"), TESTED),
        ((), DONE, replace(WIRED, outcome="baked"), TESTED),
        ((), DONE, replace(WIRED, outcome=""), TESTED),
        ((), STOPPED, None, TESTED),
    ],
)
def test_actions(changed, units, record, pending) -> None:
    found = facts(units=units)
    desired = wanted(found)
    observed = {item.path: _as_wanted(item, item.name in changed) for item in desired.items}
    made = compare(desired, observed, found, record)
    assert tuple(step.name for step in made.pending if step.item is None) == pending
    assert {step.name for step in made.pending if step.item} == (
        {"binary"} if record is None else set(changed)
    )
    assert made.changes("none of these", *pending) is bool(pending)


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
    programs=st.sampled_from([{}, UNPIGZ, BOTH]),
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
    applier = Applier(system, Record())
    made = compare(desired, observe(system, desired.items), found, None)
    assert made.pending
    applier.prepare(step.item for step in made.pending if step.item)
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
                ),
            )
        else:
            applier.put(step)
    again = wanted(found, record, **asked)
    assert compare(again, observe(system, again.items), found, record).pending == ()
