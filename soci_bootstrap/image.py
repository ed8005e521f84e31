"""What `bake` leaves out: everything that depends on the machine that an image wakes up on."""

from __future__ import annotations

from dataclasses import replace

from soci_bootstrap.desired import Desired
from soci_bootstrap.facts import Facts, nodeconfig
from soci_bootstrap.state.record import Phase
from soci_bootstrap.system import System


def facts_of(system: System, builder: Facts) -> Facts:
    """The image's own facts: not what runs on the builder, nor what its userData said.

    Other files in nodeadm.d count; they are part of the image.
    """
    return replace(builder, live=False, boot_id="", node_config=nodeconfig.read(system, cached=False))


def without_machine(desired: Desired) -> Desired:
    """What goes into an image; the boot-time unit writes config.toml and wires, on each machine anew."""
    items = tuple(
        item for item in desired.items if item.phase is not Phase.WIRING and item.path != desired.config
    )
    return replace(desired, items=items)
