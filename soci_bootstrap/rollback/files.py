"""The way back: everything that install changed, in the order in which no step leaves a broken node."""

from __future__ import annotations

from dataclasses import replace

from soci_bootstrap import paths
from soci_bootstrap.apply.nodeadm_files import of_others, put_back
from soci_bootstrap.configfiles import containerd_text
from soci_bootstrap.errors import RefusedError
from soci_bootstrap.plan.steps import Step
from soci_bootstrap.rollback.node import Runtime, holds_snapshots, remove_runtime_files
from soci_bootstrap.runtime.originals import restorable, restore_unwired
from soci_bootstrap.state.backups import remove_record, restore, sweep
from soci_bootstrap.state.ownership import PathState, state_of
from soci_bootstrap.state.record import Before, Outcome, Phase, Record, save
from soci_bootstrap.state.wiring import Wired, WiringMode
from soci_bootstrap.state.wiring import from_json as wired_from_json
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.systemd import has_systemd


class Rollback:
    """One rollback: refuse, or go through everything in the order in which no step leaves a broken node.

    First the files that point containerd and kubelet at SOCI: from there on a reboot comes up on
    overlayfs. Then units, software, the agent; the record last, so that a killed rollback goes on.

    Args:
        system: the node or the image.
        console: for progress.
        deadline: bounds every wait.
        record: of the installs.
        force: go on where workloads run on SOCI or someone else changed our files.
    """

    def __init__(
        self, system: System, console: Console, deadline: Deadline, record: Record, *, force: bool
    ) -> None:
        self.system = system
        self.console = console
        self.record = record
        self.force = force
        self.wired: Wired | None = wired_from_json(record.wiring)
        self.steps: list[Step] = []
        self.notes: list[str] = []
        running = has_systemd(system)
        self._runtime = Runtime(system, console, deadline, record, self.wired) if running else None

    # -- before anything changes --------------------------------------------------------------

    def refuse(self) -> None:
        """Raise where going on would lose something of someone else's.

        Raises:
            WorkloadsError: containers run on SOCI.
            RefusedError: files were changed by someone else since.
        """
        if self._runtime is not None:
            self._runtime.observe(self._snapshotter_afterwards())
            self._runtime.refuse(force=self.force)
        changed = [
            path
            for path in sorted(self.record.managed)
            if path in self.record.managed and state_of(self.system, self.record, path) is PathState.MODIFIED
        ]
        if changed and not self.force:
            raise RefusedError(
                "files that soci-bootstrap put there were changed by someone else since",
                found=", ".join(changed),
                expected="them as install left them",
                remedy="save what you need of them and use --force, which puts back what stood there before",
            )

    def _snapshotter_afterwards(self) -> str:
        """Return the snapshotter that containerd's configuration names once ours is out of it."""
        if self.wired is None:
            return ""
        path = self.wired.containerd_config
        if path in self.record.managed and state_of(self.system, self.record, path) in _PUT_BACK:
            found = self._before(path)
        else:
            found = restorable(self.system).get(path) or self.system.read(path) or b""
            if self.wired.mode is WiringMode.NODEADM:
                # Where it is not the saved copy, it is what nodeadm wrote, unwired.
                found = containerd_text.unwired(found)
        return containerd_text.named([found.decode("utf-8", "replace")])

    # -- the way back -------------------------------------------------------------------------

    def carry_out(self) -> None:
        """All of it.

        Raises:
            WorkloadsError: workloads came to run on SOCI since ``refuse``; nothing was changed.
        BootstrapError: something can't be put back; everything before it is.
        """
        if self._runtime is not None:
            # While the record still says that the node is wired: a workload that came ends it here.
            self._runtime.quiesce(force=self.force)
        self._begin()
        self.notes += restore_unwired(self.system)
        self._restore_phase(Phase.WIRING)
        self._restore_nodeadms()
        if self._runtime is not None:
            self.notes += self._runtime.clean_images()
            self._runtime.stop_units()
        self._restore_phase(Phase.CONFIGURATION)
        if self._runtime is not None:
            self._runtime.restart()
        self._restore_phase(Phase.SOFTWARE)
        self._remove_root()
        self._restore_phase(Phase.AGENT)
        self._remove_ours()

    def _begin(self) -> None:
        sweep(self.system, (paths.RECORD, paths.HEALTH, *self.record.before), hooks=True)
        self.record = replace(self.record, outcome=Outcome.ROLLING_BACK)
        save(self.system, self.record)

    def _restore_phase(self, phase: Phase) -> None:
        managed = self.record.managed
        for path in sorted(path for path, item in managed.items() if item.phase == phase):
            if path not in self.record.before:
                continue
            found = state_of(self.system, self.record, path)
            if found not in _PUT_BACK or self._is_before(path):
                self.steps.append(Step("restore", path, changed=False))
                continue
            self.console.debug(f"restoring {path}")
            merged = managed[path].merged and found is PathState.INSTALLED
            others = merged and of_others(path, self.system.read(path), self._before(path), self.wired)
            if others:
                entry = self.system.entry(path)
                self.system.write(path, others, entry.mode, entry.uid, entry.gid, entry.label)
                self.notes.append(f"{path}: our part is out of it; what others changed in it since stays")
            else:
                restore(self.system, self.record, path)
            self.steps.append(Step("restore", path, changed=True))

    def _is_before(self, path: str) -> bool:
        """Tell whether there is nothing to do: install wanted the very thing that stood there."""
        entry, before = self.system.entry(path), self.record.before[path]
        return entry.kind == "absent" and before.entry.kind == "absent"

    def _restore_nodeadms(self) -> None:
        """Take our part out of what nodeadm wrote; on a node that is running, nobody else would."""
        if self.wired is None or self.wired.mode is not WiringMode.NODEADM or not self.system.live:
            return
        before = {path: self._before(path) for path in self.record.before.keys() - self.record.managed.keys()}
        for path, data, saved in list(put_back(self.system, self.wired, before)):
            changed = data != self.system.read(path)
            if data is None:
                self.system.remove(path)
                self.system.rmdir(self.wired.kubelet_dir)
            elif changed:
                entry = self.system.entry(path)
                self.system.write(path, data, entry.mode, entry.uid, entry.gid, entry.label)
            if not saved:
                self.notes.append(
                    f"{path} is not as it was, since more than our part of it changed: it leads to SOCI no "
                    "more, and nodeadm writes it anew at the next boot"
                )
            self.steps.append(Step("unmerge", path, changed=changed))

    def _remove_root(self) -> None:
        """Remove SOCI's root and its own store, where nothing refers to them any more."""
        roots = (self.wired.root if self.wired else "", paths.SOCI_STORE)
        for root in roots:
            if root not in self.record.directories or self.system.entry(root).kind != "dir":
                continue
            unused = not holds_snapshots(self.system, root)
            if self._runtime is not None and root != paths.SOCI_STORE:
                unused = self._runtime.root_is_free()
            if unused:
                self.system.rmtree(root)
                self.steps.append(Step("remove", root, changed=True))
            else:
                self.notes.append(f"{root} stays: containerd's database may refer to what is in it")

    def _remove_ours(self) -> None:
        if self.system.live:
            remove_runtime_files(self.system, self.wired.address if self.wired else paths.SOCI_ADDRESS)
        own = [path for path in reversed(self.record.directories) if not paths.STATE.startswith(f"{path}/")]
        for directory in own:
            gone = self.system.rmdir(directory)
            self.steps.append(Step("remove", directory, changed=gone))
        remove_record(self.system, self.record)
        self.steps.append(Step("remove", paths.STATE, changed=True))

    # -- what is known ------------------------------------------------------------------------

    def _before(self, path: str) -> bytes:
        before = self.record.before.get(path)
        return self._backup(before) if before else b""

    def _backup(self, before: Before) -> bytes:
        return (self.system.read(before.backup) or b"") if before.backup else b""


_PUT_BACK = {PathState.INSTALLED, PathState.MODIFIED}
"""States of paths that are restored; changes of others only get this far with ``--force``."""
