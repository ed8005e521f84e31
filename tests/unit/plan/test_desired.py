from __future__ import annotations

from dataclasses import replace

import pytest

from soci_bootstrap import paths
from soci_bootstrap.configfiles import toml
from soci_bootstrap.configfiles.containerd import NamedSoci
from soci_bootstrap.errors import DecompressorError, UsageError, WiringError
from soci_bootstrap.facts import AmiSoci
from soci_bootstrap.facts.content_store import ContentStore
from soci_bootstrap.facts.nodeconfig import NodeConfig
from soci_bootstrap.fetch import release
from soci_bootstrap.paths import DAEMON, SOCI_CONFIG, SOCI_CONFIG_BESIDE_GATE
from soci_bootstrap.plan import decompressor
from soci_bootstrap.plan.decompressor import CarriedFile
from soci_bootstrap.plan.desired import Desired, desired_state
from soci_bootstrap.plan.items import Daemon, File
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Binary, Record
from soci_bootstrap.system.systemd import UnitState
from tests.support.known import FACTS, facts

SETTINGS = Settings(command="install")
NEWEST = release.NEWEST
PINNED = release.pinned_digest(NEWEST, "amd64")
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
    monkeypatch.setattr(decompressor, "carried", lambda arch, python: None)


@pytest.fixture
def a_library(monkeypatch):
    monkeypatch.setattr(decompressor, "carried", lambda arch, python: CARRIED)


def wanted(found=FACTS, record=None, excluded=frozenset(), **changes) -> Desired:
    return desired_state(replace(SETTINGS, **changes), found, b"agent", record, excluded)


def config(desired: Desired) -> dict:
    (item,) = [item for item in desired.items if item.name == "config"]
    assert isinstance(item, File)
    assert item.path == desired.config
    return toml.loads(item.data, "x")["pull_modes"]["parallel_pull_unpack"]


def names(desired: Desired) -> list[str]:
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
        SOCI_CONFIG,
        NEWEST,
        PINNED,
    )
    phases = [item.phase for item in desired.items]
    assert phases == sorted(phases)
    assert len({item.path for item in desired.items}) == len(desired.items)


@pytest.mark.parametrize(
    ("found", "version", "digest"),
    [(FACTS, NEWEST, PINNED), (facts(arch="arm64"), NEWEST, release.pinned_digest(NEWEST, "arm64"))],
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
    assert desired.config == SOCI_CONFIG_BESIDE_GATE
    drop_in = next(item for item in desired.items if item.name == "service-drop-in")
    assert isinstance(drop_in, File)
    assert f"--config {SOCI_CONFIG_BESIDE_GATE}".encode() in drop_in.data
    assert "gate-drop-in" in names(desired)


@pytest.mark.parametrize(
    ("store", "discard"), [(ContentStore(), True), (ContentStore(foreign_layer="sha256:ab"), False)]
)
def test_the_discard_rule(store, discard) -> None:
    assert config(wanted(facts(store=store)))["discard_unpacked_layers"] is discard


def test_the_discard_rule_is_one_by_version(monkeypatch) -> None:
    found = facts(store=ContentStore(foreign_layer="sha256:ab"))
    monkeypatch.setattr("soci_bootstrap.plan.tuning.DISCARD_FIXED_IN", (0, 15, 1))
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
RUNNING = {"containerd.service": UnitState("active")}


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
        (UNPIGZ, (), "auto", "isal", paths.DECOMPRESSOR),
        ({}, (), "auto", "isal", paths.DECOMPRESSOR),
        (UNPIGZ, ("isal",), "auto", "unpigz", "/usr/bin/unpigz"),
        (UNPIGZ, ("isal", "unpigz"), "auto", "none", None),
        (BOTH, ("igzip",), "auto", "isal", paths.DECOMPRESSOR),
        (BOTH, (), "unpigz", "unpigz", "/usr/bin/unpigz"),
        (BOTH, (), "isal", "isal", paths.DECOMPRESSOR),
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
