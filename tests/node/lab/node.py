"""One node: an overlay over a cached root, its namespaces, and systemd in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tests.node.lab import cgroup, rootfs, tree
from tests.node.lab.disk import Disk
from tests.node.lab.netns import NetNamespace
from tests.node.lab.rootfs import HIDDEN, LabError

if TYPE_CHECKING:
    from typing_extensions import Self

_BOOT = Path(__file__).with_name("boot.sh")
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


class Node:
    """A machine to install on. As a context manager it is powered off and forgotten at the end.

    ``write``, ``read`` and ``exists`` work before ``boot`` and while the node runs.

    Args:
        root: name of a cached root, one of ``rootfs.NODE_ROOTS``.
        private_network: loopback alone, kept over reboots; False shares this machine's network.
        environment: for systemd as PID 1, and so for nothing else but generators.
        upon: layers to put over the root (shared, read-only), uppermost first.
    """

    def __init__(
        self,
        root: str = "trixie-containerd2",
        *,
        private_network: bool = True,
        environment: Mapping[str, str] | None = None,
        upon: Sequence[Path] = (),
    ) -> None:
        forget_the_dead()
        self.root = rootfs.get(root)
        layers = (*upon, *rootfs.get("soci-daemon").layers[:1], *self.root.layers)
        place = rootfs.cache_dir() / "nodes"
        place.mkdir(parents=True, exist_ok=True)
        self.directory = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=place))
        self.disk = Disk(self.directory, layers)
        self.net = NetNamespace() if private_network else None
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0
        """systemd's, as this machine sees it; 0 while the node is off."""
        self.boot_seconds = 0.0
        """How long the last ``boot`` took until systemd said that it was up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- power

    def boot(self, *, wait: bool = True, timeout: float = 60) -> Node:
        """Switch the node on; with ``wait`` until every job of the boot has ended."""
        if self.pid:
            raise LabError("the node is on already")
        started = time.monotonic()
        with open(self.directory / "boot.log", "ab") as log:
            self._process = subprocess.Popen(
                self._boot_command(),
                env={
                    "PATH": os.environ["PATH"],
                    "ROOT": str(self.disk.merged),
                    "LAYERS": ":".join(map(str, self.disk.layers)),
                    "UPPER": str(self.disk.upper),
                    "WORK": str(self.disk.work),
                    "VARLIB": str(self.disk.var_lib),
                    "ARRAY": str(self.disk.array),
                    "NODE_ENV": " ".join(f"{key}={value}" for key, value in self._environment.items()),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[self.net.fd] if self.net else [],
            )
        self._find_systemd(started + timeout)
        if wait:
            self.wait_booted(timeout)
        self.boot_seconds = time.monotonic() - started
        return self

    def wait_booted(self, timeout: float = 60) -> str:
        """``running`` or ``degraded``, once every job of the boot has ended."""
        return self.run(
            ["systemctl", "is-system-running", "--wait"], check=False, timeout=timeout
        ).stdout.strip()

    def kill(self) -> None:
        """Pull the plug: every process dies at once, and every mount goes with them."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid or self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        self.pid = 0
        cgroup.remove(self._cgroup)

    def reboot(self, *, wait: bool = True, timeout: float = 60) -> Node:
        """Pull the plug and boot again: disks stay, /run and every process are new."""
        self.kill()
        return self.boot(wait=wait, timeout=timeout)

    def close(self) -> None:
        """Switch off and delete everything."""
        self.kill()
        if self.net:
            self.net.close()
            self.net = None
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- commands

    def run(
        self,
        command: Sequence[str] | str,
        *,
        check: bool = True,
        timeout: float = 60,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program (a list) or a shell script (a string) as root on the node.

        Raises:
            CommandError: it ended with another status than 0 and ``check`` is set; shows its output.
            subprocess.TimeoutExpired: it was killed after ``timeout`` seconds.
        """
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        with self.popen(argv, environment=environment) as process:
            try:
                out, err = process.communicate(stdin, timeout=timeout)
            except BaseException:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        done = subprocess.CompletedProcess(
            argv, process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
        )
        if check and done.returncode:
            raise CommandError(done)
        return done

    def popen(
        self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program as root on the node, with pipes, in a session of its own."""
        if not self.pid:
            raise LabError("the node is off")
        enter = ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]
        return subprocess.Popen(
            [*cgroup.within(self._cgroup + "/lab"), *enter, *argv],
            env={**_ENVIRONMENT, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    # --- files

    def write(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        """Put a file, its directories made as needed."""
        raw = data.encode() if isinstance(data, str) else data
        if self.pid:
            script = 'mkdir -p "$(dirname "$0")" && rm -f "$0" && cat > "$0" && chmod "$1" "$0"'
            self.run(["sh", "-c", script, path, f"{mode:o}"], stdin=raw)
            return
        place = self.disk.path(path)
        self.disk.make_parents(place)
        place.write_bytes(raw)
        place.chmod(mode)

    def read(self, path: str) -> str:
        """A file's text."""
        return self.run(["cat", path]).stdout if self.pid else self.disk.find(path).read_text()

    def exists(self, path: str) -> bool:
        """Whether anything stands there; a link counts even if it leads nowhere."""
        if not self.pid:
            return os.path.lexists(self.disk.find(path))
        return self.run('[ -e "$0" ] || [ -L "$0" ]'.replace("$0", path), check=False).returncode == 0

    def offer(self, program: str) -> None:
        """Put a program on PATH that stock nodes lack: ``igzip``."""
        self.write(f"/usr/bin/{program}", self.disk.find(f"/{HIDDEN}/{program}").read_bytes(), 0o755)

    def snapshot_tree(self) -> tree.Tree:
        """What differs from the cached root, path by path, /run and /tmp apart; see ``tree.differences``."""
        return self.disk.changes()

    # --- units

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """``systemctl show`` of some properties."""
        text = self.run(["systemctl", "show", unit, f"-p{','.join(properties)}"]).stdout
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def state(self, unit: str) -> str:
        """ActiveState."""
        return self.show(unit, "ActiveState")["ActiveState"]

    def wait_for(self, unit: str, state: str = "active", timeout: float = 30) -> None:
        """Wait until ActiveState is ``state``; the error holds the unit's journal."""
        end = time.monotonic() + timeout
        while (found := self.state(unit)) != state:
            if time.monotonic() > end:
                raise AssertionError(
                    f"{unit} is {found}, not {state}, after {timeout} s:\n{self.journal(unit)}"
                )
            time.sleep(0.05)

    def journal(self, unit: str = "", *arguments: str) -> str:
        """This boot's journal, of one unit or all."""
        chosen = ["-u", unit] if unit else []
        return self.run(
            ["journalctl", "-b", "--no-pager", "-o", "short-monotonic", *chosen, *arguments]
        ).stdout

    # --- inside

    @property
    def _cgroup(self) -> str:
        return cgroup.path(f"soci-lab-{self.directory.name}")

    def _boot_command(self) -> list[str]:
        # A test run that is killed takes its nodes along: each process dies with its parent.
        command = [*cgroup.within(self._cgroup), "setpriv", "--pdeathsig", "KILL"]
        if self.net:
            command += ["nsenter", f"--net=/proc/self/fd/{self.net.fd}"]
        command += ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child"]
        return [*command, "sh", str(_BOOT)]

    def _find_systemd(self, end: float) -> None:
        assert self._process is not None
        main = self._process.pid
        while time.monotonic() < end:
            if self._process.poll() is not None:
                self._process = None
                log = (self.directory / "boot.log").read_text()
                raise LabError(f"the node did not boot: {log}")
            with contextlib.suppress(OSError, LookupError):
                child = int(Path(f"/proc/{main}/task/{main}/children").read_text().split()[0])
                # systemd answers on this socket; before it, the root may still be this machine's.
                if (
                    Path(f"/proc/{child}/comm").read_text().strip() == "systemd"
                    and Path(f"/proc/{child}/root/run/systemd/private").exists()
                ):
                    self.pid = child
                    return
            time.sleep(0.01)
        self.kill()
        raise LabError("systemd did not start")


class CommandError(AssertionError):
    """A program on the node ended with another status than 0."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        super().__init__(
            f"{done.args} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        self.done = done


def forget_the_dead() -> None:
    """Delete what test runs left that were killed; their processes and mounts are gone already."""
    for place in (rootfs.cache_dir() / "nodes").glob("*-*"):
        owner = place.name.partition("-")[0]
        if not Path("/proc", owner).exists():
            cgroup.remove(cgroup.path(f"soci-lab-{place.name}"))
            shutil.rmtree(place, ignore_errors=True)
