"""Before anything is wired: start the daemon with its real configuration on a scratch root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping

from soci_bootstrap import paths
from soci_bootstrap.configfiles.soci import USUAL_ARGS, Decompressor
from soci_bootstrap.errors import DecompressorError, PreflightError, WiringError
from soci_bootstrap.facts import Facts
from soci_bootstrap.facts.registries import DEFAULT, Registry, url
from soci_bootstrap.runtime import probe, self_test
from soci_bootstrap.system import System
from soci_bootstrap.system.deadline import Deadline

SECONDS = 5.0


def run(daemon: str, config: str, deadline: Deadline, environment: Mapping[str, str]) -> None:
    """Show that this daemon runs on this node with this configuration.

    Args:
        daemon: its program.
        config: its config.toml.
        deadline: bounds the wait, which is 5 s at most.
        environment: what it gets as its environment.

    Raises:
        PreflightError: it can't be executed, it ended, or it did not answer in time.
    """
    # Whatever its root, it makes its own store; after a run that is taken back nothing of it may stay.
    makes_store = not os.path.lexists(paths.SOCI_STORE)
    scratch = f"{paths.RUN}/preflight-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        for directory in (paths.RUN, scratch):
            # In makedirs, the umask decides on the mode of the parents.
            if directory == scratch or not os.path.exists(directory):
                os.mkdir(directory, 0o700)
    except OSError as error:
        raise PreflightError(
            f"{scratch} can't be made",
            found=error.strerror or str(error),
            expected="a place for the daemon's scratch root",
            remedy="run as root, and check /run",
        ) from error
    address = f"{scratch}/soci.sock"
    log = f"{scratch}/log"
    try:
        with open(log, "wb") as output:
            argv = [daemon, "--address", address, "--config", config, "--root", f"{scratch}/root"]
            process = _start(argv, output.fileno(), environment)
            try:
                ready = _wait(process, address, deadline.limit(SECONDS))
                status = process.poll()
            finally:
                _stop(process)
        if not ready:
            raise _failure(daemon, config, status, log)
    finally:
        for directory in (scratch, *([paths.SOCI_STORE] if makes_store else [])):
            shutil.rmtree(directory, ignore_errors=True)


def _start(argv: list[str], log: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environment))
    except OSError as error:
        raise PreflightError(
            f"{argv[0]} can't be started",
            found=error.strerror or str(error),
            expected="a program for this architecture, on a file system that allows execution",
            remedy="check --arch, and `findmnt -T` for noexec",
        ) from error


def _wait(process: subprocess.Popen[bytes], address: str, seconds: float) -> bool:
    import time

    end = time.monotonic() + seconds
    while process.poll() is None and (left := end - time.monotonic()) > 0:
        if probe.answers(address, min(0.1, left)):
            return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # SIGTERM: the one signal on which it keeps its snapshots and ends in order.
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _failure(daemon: str, config: str, status: int | None, log: str) -> PreflightError:
    with open(log, "rb") as file:
        words = file.read()[-4096:].decode("utf-8", "replace").strip().splitlines()
    last = words[-1][:300] if words else "no message"
    ended = "no answer in time" if status is None else f"it ended with status {status}"
    return PreflightError(
        "the SOCI snapshotter does not run on this node",
        found=f"{ended} ({last})",
        expected="a gRPC server that answers",
        remedy=f"run `{daemon} --config {config} --address /run/t.sock --root /run/t` to see why",
    )


def refuse_unreachable(registries: Iterable[Registry], answers: Mapping[str, str], *, wired: bool) -> None:
    """Refuse to wire where a registry that must be asked directly can't be.

    Args:
        registries: as observed.
        answers: as ``ask`` gave them, now or at an earlier run.
        wired: the node is wired already; then one that was never asked gets the benefit of the doubt.

    Raises:
        WiringError: one does not answer, or it is not known whether it would.
    """
    for registry in registries:
        if registry.name == DEFAULT:
            continue
        answer = answers.get(registry.name, "" if wired else "it has not been asked yet")
        if answer:
            raise WiringError(
                f"SOCI's parallel pull would ask {registry.name} itself, not by way of {registry.source}",
                found=f"{registry.why} in {registry.source}, and {url(registry.name)}: {answer}",
                expected="an HTTP answer from the registry itself",
                remedy="give this node a way to it and run `soci-bootstrap install`, "
                "or use --force where no pod pulls from it",
            )


def prove(chosen: Decompressor, system: System, found: Facts, *, compare: bool) -> None:
    """Show that a decompressor may be named on this node.

    Args:
        chosen: the one that the plan names.
        system: the node.
        found: its facts.
        compare: on aarch64, where ISA-L is not everywhere the faster one, race ours with unpigz.

    Raises:
        DecompressorError: it failed its self-test, or unpigz is as fast here.
    """
    if chosen.path is None:
        return
    self_test.self_test(chosen.path, chosen.args, system)
    unpigz = found.programs.get("unpigz")
    if not compare or chosen.kind != "isal" or found.arch != "arm64" or unpigz is None:
        return
    if not self_test.faster_than(chosen.path, chosen.args, unpigz, USUAL_ARGS, system):
        raise DecompressorError(
            "ours does not pay on this processor",
            found="unpigz as fast in a short comparison",
            expected="a gain",
            remedy="unpigz is used; name --decompressor isal to insist",
        )
