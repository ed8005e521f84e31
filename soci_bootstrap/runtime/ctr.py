"""containerd's own client, `ctr`, asked and told. Standard library only.

Every call is bounded; a containerd that does not answer is the caller's finding, not a hang.
"""

from __future__ import annotations

import os
from contextlib import suppress

from soci_bootstrap import paths
from soci_bootstrap.errors import CommandError, TimedOutError
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.programs import Completed, checked

NAMESPACE = "k8s.io"
_PINNED = "io.cri-containerd.pinned=pinned"


class Ctr:
    """`ctr` in one of containerd's namespaces.

    Args:
        system: the node.
        seconds: what each call may take.
        namespace: CRI's by default.
        deadline: for all calls together.
    """

    def __init__(
        self,
        system: System,
        seconds: float = 2.0,
        namespace: str = NAMESPACE,
        deadline: Deadline | None = None,
    ) -> None:
        self._system = system
        self._deadline = deadline
        self._seconds = seconds
        self._namespace = namespace
        self._program = system.which("ctr")

    def probe_snapshot(self, snapshotter: str) -> None:
        """Prepare an empty snapshot and remove it: unlike `plugins ls`, this dials the snapshotter.

        Raises:
            CommandError: it could not be prepared.
        """
        key = f"soci-bootstrap-probe-{os.getpid()}-{os.urandom(4).hex()}"
        try:
            self._checked("snapshots", "--snapshotter", snapshotter, "prepare", key, "")
        finally:
            # Where no time is left for it, containerd's garbage collection takes it: nothing refers to it.
            with suppress(TimedOutError):
                self._run("snapshots", "--snapshotter", snapshotter, "rm", key)

    def import_pause(self, snapshotter: str) -> bool:
        """Unpack the cached pause image into a snapshotter; False where none is cached.

        Raises:
            CommandError: the import failed.
        """
        if self._system.entry(paths.PAUSE_IMAGE).kind != "file":
            return False
        words = ["images", "import", "--snapshotter", snapshotter]
        newest = self._run(*words, "--discard-unpacked-layers=false", "--local", paths.PAUSE_IMAGE)
        if newest.status and b"flag provided but not defined" in newest.stdout + newest.stderr:
            # ctr before 2.0 imports locally, and before 1.5 never discards, without being told.
            self._checked(*words, paths.PAUSE_IMAGE)
        else:
            checked(["ctr", *words, paths.PAUSE_IMAGE], newest)
        return True

    def unusable_images(self, snapshotter: str) -> list[str]:
        """References of unpinned images that the snapshotter has no snapshot of."""
        return [
            reference
            for reference, pinned, unpacked in self._images(snapshotter)
            if not pinned and not unpacked
        ]

    def remove_images(self, references: list[str]) -> None:
        """Remove image records; their content goes with containerd's garbage collection."""
        if references:
            self._checked("images", "rm", *references)

    def snapshots(self, snapshotter: str) -> list[str]:
        """Keys of a snapshotter's snapshots."""
        return list(self._parents(snapshotter))

    def remove_snapshots(self, snapshotter: str) -> None:
        """Remove all of a snapshotter's snapshots, children before their parents.

        Raises:
            CommandError: one is in use, or does not go.
        """
        parents = self._parents(snapshotter)
        while parents:
            # What has no child goes first. containerd's garbage collection may be quicker.
            leaves = [key for key in parents if key not in parents.values()]
            removed = self._run("snapshots", "--snapshotter", snapshotter, "rm", *leaves)
            left = self._parents(snapshotter)
            if left == parents:
                checked(["ctr", "snapshots", "rm"], removed)
                raise CommandError(
                    f"snapshots of {snapshotter} are still there after they were removed",
                    found=f"{len(left)} of them",
                    expected="none",
                    remedy=f"look at `ctr -n {self._namespace} snapshots --snapshotter {snapshotter} ls`",
                )
            parents = left
        # containerd has forgotten them; their snapshotter is told once garbage is collected: have that done.
        lease = self._text("leases", "create").strip()
        self._checked("leases", "delete", "--sync", lease)

    def namespaces(self) -> list[str]:
        """Containerd's namespaces."""
        return self._text("namespaces", "ls", "-q").split()

    def tasks(self) -> list[str]:
        """Containers that run."""
        lines = self._text("tasks", "ls").splitlines()
        return [words[0] for line in lines[1:] if (words := line.split()) and words[-1] != "STOPPED"]

    def containers(self, *, of_pods: bool = False) -> list[str]:
        """All containers, those that ended included; only CRI's with ``of_pods``."""
        wanted = ['labels."io.cri-containerd.kind"'] if of_pods else []
        return self._text("containers", "ls", "-q", *wanted).split()

    def info(self, container: str) -> bytes:
        """All that containerd knows of a container, as JSON."""
        return self._checked("containers", "info", container)

    def kill(self, container: str, signal: str, *, everything: bool = False) -> None:
        """Send a signal to a container's first process, or to all of them."""
        self._checked("tasks", "kill", *(["-a"] if everything else []), "-s", signal, container)

    def remove_task(self, container: str) -> None:
        """Remove what is left of a container that ended."""
        self._checked("tasks", "rm", "-f", container)

    def remove_container(self, container: str) -> None:
        """Remove a container and its snapshot."""
        self._checked("containers", "rm", container)

    def _parents(self, snapshotter: str) -> dict[str, str]:
        lines = self._text("snapshots", "--snapshotter", snapshotter, "ls").splitlines()
        # KEY PARENT KIND, the second of them blank for a lowest layer.
        rows = [line.split() for line in lines[1:] if line.strip()]
        return {words[0]: words[1] if len(words) > 2 else "" for words in rows}

    def _images(self, snapshotter: str) -> list[tuple[str, bool, bool]]:
        pinned = {line.split()[0] for line in self._text("images", "ls").splitlines()[1:] if _PINNED in line}
        checking = self._run("images", "check", "--snapshotter", snapshotter)
        header, *rows = checking.stdout.decode("utf-8", "replace").splitlines() or [""]
        if not header.startswith("REF"):
            checked(["ctr", "images", "check"], checking)
        # It lists all of them, and ends with 1 where it could not judge one: that one is of no use either.
        unpacked = {words[0]: words[-1] == "true" for row in rows if (words := row.split())}
        return [(reference, reference in pinned, ready) for reference, ready in unpacked.items()]

    def _text(self, *words: str) -> str:
        # What is no text is no name of anything, and matches nothing.
        return self._checked(*words).decode("utf-8", "replace")

    def _checked(self, *words: str) -> bytes:
        return checked(["ctr", *words], self._run(*words))

    def _run(self, *words: str) -> Completed:
        if self._program is None:
            raise CommandError(
                "ctr is not on this node",
                expected="containerd's own client",
                remedy="install the ctr that belongs to this containerd",
            )
        argv = [self._program, "-n", self._namespace, *words]
        seconds = self._deadline.limit(self._seconds) if self._deadline else self._seconds
        if seconds <= 0:
            raise TimedOutError(f"{' '.join(argv)} was not run", found="no time left for it")
        return self._system.run(argv, timeout=seconds)
