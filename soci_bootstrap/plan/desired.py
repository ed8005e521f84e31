"""The desired state of a node: a pure function of settings, facts and record."""

from __future__ import annotations

from dataclasses import dataclass, replace

from soci_bootstrap import paths
from soci_bootstrap.configfiles import soci
from soci_bootstrap.configfiles.soci import Decompressor
from soci_bootstrap.errors import WiringError
from soci_bootstrap.facts import Facts, nodeconfig
from soci_bootstrap.fetch import release
from soci_bootstrap.plan import tuning, units, wiring
from soci_bootstrap.plan.decompressor import choose
from soci_bootstrap.plan.items import Daemon, File, Item
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Phase, Record
from soci_bootstrap.system import System


@dataclass(frozen=True)
class Desired:
    """The whole of what install wants of a node.

    Attributes:
        items: by phase.
        wiring: how containerd and kubelet are pointed at SOCI.
        decompressor: what config.toml names, to be self-tested before.
        daemon: the program that the service runs, config the file that it reads.
        version: of SOCI, as text; the AMI's own where that serves.
        sha256: the archive's digest as far as it is known before fetching.
    """

    items: tuple[Item, ...]
    wiring: wiring.Wiring
    decompressor: Decompressor
    daemon: str
    config: str
    version: str
    sha256: str | None


def desired_state(
    settings: Settings,
    facts: Facts,
    agent: bytes,
    record: Record | None = None,
    excluded: frozenset[str] = frozenset(),
) -> Desired:
    """Compute the desired state from settings, facts and the last record. Pure.

    Args:
        settings: the user's.
        facts: the node's.
        agent: the zipapp's own bytes.
        record: of the last run; a node that was wired once may be wired again.
        excluded: decompressors that failed their self-test or lost the comparison here.

    Raises:
        WiringError: the node can't be wired, or images that it holds would be stranded.
        DecompressorError: the one asked for is not here.
    """
    chosen = wiring.choose(settings.wiring, facts, settings.snapshotter_root)
    _refuse_stranding(settings, facts, record)
    _refuse_other_root(chosen, facts)
    daemon, version, sha256 = _daemon(settings, facts, record)
    config = paths.SOCI_CONFIG_BESIDE_GATE if facts.node_config.gate else paths.SOCI_CONFIG
    inflater, files = choose(settings, facts, excluded)
    pull = tuning.tune(
        facts.machine,
        inflater,
        discard_unpacked_layers=tuning.may_discard(facts.store, version),
        overrides=settings.parallel_pull,
    )
    items: list[Item] = list(units.agent_items(agent))
    if daemon == paths.DAEMON:
        items.append(Daemon("binary", paths.DAEMON, version, facts.arch, sha256))
    items += files
    items.append(File("config", config, soci.render(pull), Phase.CONFIGURATION))
    items += units.soci_items(facts, daemon, config, chosen.address, chosen.root)
    items += chosen.items
    return Desired(tuple(items), chosen, inflater, daemon, config, version, sha256)


def _refuse_stranding(settings: Settings, facts: Facts, record: Record | None) -> None:
    """Images pre-pulled into a custom AMI lie in overlayfs, where SOCI would not find them."""
    was_wired = record is not None and bool(record.wiring)
    containerd = facts.units.get(paths.CONTAINERD_SERVICE)
    running = containerd is not None and containerd.active == "active"
    # Those that this node pulled itself, after it failed open, are no obstacle to the next try.
    found = facts.store.overlayfs_snapshots
    if record is not None and record.prepulled is not None:
        found = record.prepulled
    if settings.force or was_wired or running or not found:
        return
    raise WiringError(
        "this image has container images pre-pulled on overlayfs, which SOCI would pull again",
        found=f"{found} snapshots beyond the pause image's",
        expected="none but the pause image's",
        remedy="build the image without them, or use --force to switch anyway",
    )


def _refuse_other_root(chosen: wiring.Wiring, facts: Facts) -> None:
    """Containerd would go on taking images for unpacked that SOCI no longer finds: their pods never start."""
    there = facts.containerd.soci
    if there is not None and there.root != chosen.root:
        raise WiringError(
            "containerd's images lie below another root of SOCI's, which it would not look into any more",
            found=f"snapshots below {there.root}",
            expected=f"none, or {chosen.root}",
            remedy=f"use --snapshotter-root {there.root}, or drain the node and `soci-bootstrap rollback`",
        )


def _daemon(settings: Settings, facts: Facts, record: Record | None) -> tuple[str, str, str | None]:
    """The program, its version and its archive's digest; the AMI's own where it is new enough.

    Once one was fetched for this node it stays in use: the options that led to it (``--tarball``,
    ``--sha256``) are not there at the next boot.
    """
    asked, own = settings.soci_version, facts.ami.version
    fetched = record.binary if record else None
    enough = release.parse_version(asked) if asked else release.MINIMUM
    specific = settings.tarball or settings.sha256 or fetched
    if own is not None and not specific and own >= enough:
        return facts.ami.binary, ".".join(map(str, own)), None
    version = asked or release.NEWEST
    # What is recorded was verified then; only a digest given now asks for another archive.
    recorded = (
        fetched.archive_sha256
        if fetched and (fetched.version, fetched.arch) == (version, facts.arch)
        else None
    )
    return paths.DAEMON, version, settings.sha256 or recorded or release.pinned_digest(version, facts.arch)


def facts_of_image(system: System, builder: Facts) -> Facts:
    """The image's own facts: not what runs on the builder, nor what its userData said.

    Other files in nodeadm.d count; they are part of the image.
    """
    return replace(builder, live=False, boot_id="", node_config=nodeconfig.read(system, cached=False))


def without_machine(desired: Desired) -> Desired:
    """Leave out what an image must not hold; the boot-time unit tunes and wires on each machine anew."""
    items = tuple(
        item for item in desired.items if item.phase is not Phase.WIRING and item.path != desired.config
    )
    return replace(desired, items=items)
