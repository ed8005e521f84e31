"""The input of one run: where, what is wanted, by when, and what the last run left."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Record
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline


class Mode(Enum):
    """The place and time of a run."""

    NODE = "install on the running machine"
    BOOT = "the boot-time unit: nothing is fetched, the decompressor is tested again"
    BAKE = "into an image: nothing of the machine that builds it goes into it"
    TREE = "install below --root: files only"


def mode_of(settings: Settings, system: System) -> Mode:
    """The mode that a command line asks for; a boot is asked for by systemd alone."""
    if settings.command == "bake":
        return Mode.BAKE
    return Mode.NODE if system.live else Mode.TREE


@dataclass(frozen=True)
class Context:
    """The input of one run, for all who take part in it.

    Attributes:
        system: the node or the image.
        settings: the user's.
        console: for progress.
        deadline: bounds every wait.
        agent: the zipapp's own bytes.
        record: the last run's, None for the first.
        mode: decided once, here.
    """

    system: System
    settings: Settings
    console: Console
    deadline: Deadline
    agent: bytes
    record: Record | None
    mode: Mode

    @property
    def on_node(self) -> bool:
        """The running machine is changed: units and containerd, not only files."""
        return self.mode in {Mode.NODE, Mode.BOOT}

    @property
    def wired(self) -> bool:
        """An earlier run wired this node."""
        return self.record is not None and bool(self.record.wiring)
