"""What one run is given: where, what is wanted, by when, and what the last run left."""

from __future__ import annotations

from dataclasses import dataclass

from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Record
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline


@dataclass(frozen=True)
class Context:
    """One run's, for all who take part in it.

    Attributes:
        system: the node or the image.
        settings: the user's.
        console: for progress.
        deadline: bounds every wait.
        agent: the zipapp's own bytes.
        record: the last run's, None for the first.
        boot: at a boot nothing is fetched, and the decompressor is tested again.
    """

    system: System
    settings: Settings
    console: Console
    deadline: Deadline
    agent: bytes
    record: Record | None
    boot: bool = False

    @property
    def image(self) -> bool:
        """Whether this makes an image: nothing of the machine that it runs on goes into it."""
        return self.settings.command == "bake"

    @property
    def node(self) -> bool:
        """Whether this is about the running machine: units and containerd, not only files."""
        return self.system.live and not self.image

    @property
    def wired(self) -> bool:
        """Whether an earlier run wired this node."""
        return self.record is not None and bool(self.record.wiring)
