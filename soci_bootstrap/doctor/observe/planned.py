"""The facts that install decides by, what it would want now, and each fact alone where one is broken."""

from __future__ import annotations

from dataclasses import replace

from soci_bootstrap import facts, paths
from soci_bootstrap.doctor.finding import Observed, Unknown, attempt
from soci_bootstrap.doctor.observe import files
from soci_bootstrap.doctor.observe.node import Containerd, Node
from soci_bootstrap.facts import Facts, containerd, content_store, kubelet, nodeconfig, registries
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.fetch import reachable
from soci_bootstrap.plan.decompressor import excluded
from soci_bootstrap.plan.desired import Desired, desired_state
from soci_bootstrap.settings import from_json
from soci_bootstrap.state.record import Record
from soci_bootstrap.state.wiring import Wired
from soci_bootstrap.system import System


def arch(system: System, record: Record | None) -> str | None:
    """An image's architecture is the one that was installed into it."""
    return record.binary.arch if record and record.binary and not system.live else None


def observe(system: System, record: Observed[Record | None]) -> tuple[Facts, Observed[Desired]]:
    """The facts, and what an install with the recorded settings would want by them."""
    known = None if isinstance(record, Unknown) else record
    observed = facts.observe(system, known, arch=arch(system, known))
    if isinstance(record, Unknown):
        # With other settings, or none, it would want something else: `record` says what is the matter.
        return observed, Unknown(record.why)
    return observed, attempt(lambda: _desired(system, record, observed))


def _desired(system: System, record: Record | None, observed: Facts) -> Desired:
    settings = from_json(record.settings if record else {}, "install")
    agent = system.read(paths.AGENT) or b""
    return desired_state(settings, observed, agent, record, excluded(record, settings))


def add(
    node: Node, system: System, planned: Observed[tuple[Facts, Observed[Desired]]], wired: Wired | None
) -> Node:
    """Add the facts; where one of them kept the others from being seen, look at each by itself."""
    listed: Observed[tuple[registries.Registry, ...]]
    if not isinstance(planned, Unknown):
        observed, desired = planned
        found, listed = observed.containerd, observed.registries
        config: Observed[nodeconfig.NodeConfig] = attempt(
            # What is remembered of the user's is right but for drop-ins that came since.
            lambda: replace(observed.node_config, later=nodeconfig.read(system).later)
        )
        store: Observed[content_store.ContentStore] = observed.store
        endpoint = attempt(lambda: _endpoint(system, observed.kubelet))
    else:
        desired = planned
        found, listed = _containerd(system, wired)
        config = attempt(lambda: nodeconfig.read(system))
        store = attempt(lambda: content_store.observe(system, found.root))
        endpoint = attempt(
            lambda: _endpoint(system, kubelet.observe(system, read_unit(system, paths.KUBELET_SERVICE)))
        )
    return replace(
        node,
        desired=desired,
        node_config=config,
        store=store,
        endpoint=endpoint,
        registries=listed,
        reachable={}
        if isinstance(listed, Unknown) or not system.live
        else attempt(lambda: reachable.ask(registries.direct_urls(listed), found.variables)),
        containerd=Containerd(
            present=found.present,
            version=found.version,
            config=found.config_path,
            root=found.root,
            others=attempt(lambda: files.other_snapshotters(system, found.config_path)),
        ),
        containerd_disk=attempt(lambda: files.observe(system, found.root)),
    )


def _endpoint(system: System, found: kubelet.Kubelet) -> kubelet.Endpoint | None:
    return kubelet.image_endpoint(system, found) if found.present else None


def _containerd(
    system: System, wired: Wired | None
) -> tuple[containerd.Containerd, Observed[tuple[registries.Registry, ...]]]:
    """By itself, with the registries that it reaches in its own way; as recorded where it can't be read."""
    seen = attempt(lambda: containerd.observe(system, read_unit(system, paths.CONTAINERD_SERVICE)))
    if isinstance(seen, Unknown):
        present = attempt(lambda: system.which("containerd") is not None) is not False
        path = wired.containerd_config if wired else paths.CONTAINERD_CONFIG
        return containerd.Containerd(present, None, path), seen
    return seen, attempt(lambda: registries.observe(system, seen.config, seen.config_path, seen.version))
