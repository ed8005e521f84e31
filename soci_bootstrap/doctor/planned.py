"""The facts that install decides by, what it would want now, and each fact alone where one is broken."""

from __future__ import annotations

from dataclasses import replace

from soci_bootstrap import containerd, contentstore, facts, kubelet, nodeconfig
from soci_bootstrap import plan as plan_
from soci_bootstrap.doctor import filesystems, held, programs
from soci_bootstrap.doctor.finding import Seen, Unseen, attempt
from soci_bootstrap.doctor.node import Containerd, Kubelet, Node, Registry
from soci_bootstrap.facts import Facts
from soci_bootstrap.plan import Desired
from soci_bootstrap.record import Record
from soci_bootstrap.settings import from_json
from soci_bootstrap.system import System
from soci_bootstrap.unitfiles import read_unit
from soci_bootstrap.units import AGENT
from soci_bootstrap.unwire import Wired


def arch(system: System, record: Record | None) -> str | None:
    """An image's architecture is the one that was installed into it."""
    return record.binary.arch if record and record.binary and not system.live else None


def observe(system: System, record: Record | None) -> tuple[Facts, Seen[Desired]]:
    """The facts, and what an install with the recorded settings would want by them."""
    observed = facts.observe(system, record, arch=arch(system, record))
    return observed, attempt(lambda: _desired(system, record, observed))


def _desired(system: System, record: Record | None, observed: Facts) -> Desired:
    settings = from_json(record.settings if record else {}, "install")
    excluded = frozenset(record.excluded if record and settings.decompressor == "auto" else ())
    return plan_.desire(settings, observed, system.read(AGENT) or b"", record, excluded)


def add(node: Node, system: System, planned: Seen[tuple[Facts, Seen[Desired]]], wired: Wired | None) -> Node:
    """Add the facts; where one of them kept the others from being seen, look at each by itself."""
    if not isinstance(planned, Unseen):
        observed, desired = planned
        path, root, version = (
            observed.containerd.config_path,
            observed.containerd.root,
            observed.containerd.version,
        )
        present = observed.containerd.present
        config: Seen[nodeconfig.NodeConfig] = attempt(
            # What is remembered of the user's is right but for drop-ins that came since.
            lambda: replace(observed.node_config, later=nodeconfig.read(system).later)
        )
        store: Seen[contentstore.ContentStore] = observed.store
        endpoint: Seen[Kubelet] = attempt(lambda: held.kubelet(system, observed.kubelet))
        told: Seen[tuple[Registry, ...]] = attempt(lambda: programs.ask_registries(system, observed))
    else:
        desired = told = planned
        seen = attempt(lambda: containerd.observe(system, read_unit(system, "containerd.service")))
        path = wired.containerd_config if wired else containerd.CONFIG
        present = attempt(lambda: system.which("containerd") is not None) is not False
        root, version = containerd.ROOT, None
        if not isinstance(seen, Unseen):
            present, path, root, version = seen.present, seen.config_path, seen.root, seen.version
        config = attempt(lambda: nodeconfig.read(system))
        store = attempt(lambda: contentstore.observe(system, root))
        endpoint = attempt(
            lambda: held.kubelet(system, kubelet.observe(system, read_unit(system, "kubelet.service")))
        )
    return replace(
        node,
        desired=desired,
        node_config=config,
        store=store,
        kubelet=endpoint,
        registries=told,
        containerd=Containerd(
            present=present,
            version=version,
            config=path,
            root=root,
            others=attempt(lambda: held.other_snapshotters(system, path)),
        ),
        containerd_disk=attempt(lambda: filesystems.observe(system, root)),
    )
