"""`install` and `bake`: one run, and its result."""

from __future__ import annotations

import time

from soci_bootstrap.apply.context import Context, mode_of
from soci_bootstrap.apply.run import Report
from soci_bootstrap.apply.run import run as run_
from soci_bootstrap.cli.result import Result
from soci_bootstrap.errors import RefusedError
from soci_bootstrap.facts.machine import architecture
from soci_bootstrap.plan.steps import steps_to_json
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import Outcome, load
from soci_bootstrap.system import System, lock, resources
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

_STATUS = {Outcome.FAILED: 1, Outcome.DEGRADED: 2}


def run(settings: Settings, console: Console) -> Result:
    """Install on this node, or into the image below ``--root``.

    Raises:
        RefusedError: nothing was changed; exit status 1.
        BootstrapError: before anything was changed.
    """
    started = time.monotonic()
    deadline = Deadline(settings.deadline)
    system = System(settings.root)
    architecture(settings.arch)
    agent = _agent()
    with lock.held(system, deadline):
        context = Context(system, settings, console, deadline, agent, load(system), mode_of(settings, system))
        report = run_(context)
    return _result(report, time.monotonic() - started)


def _result(report: Report, seconds: float) -> Result:
    """The contract's object, and a line for people."""
    status = _STATUS.get(report.outcome, 0)
    document = {
        "outcome": report.outcome.value,
        "reason": report.reason,
        "steps": steps_to_json(report.steps),
        "soci_version": report.version,
        "arch": report.arch,
        "sha256": report.sha256,
        "wiring": report.wiring,
        "seconds": round(seconds, 3),
    }
    subject = f"{report.outcome.value}: SOCI {report.version} ({report.arch}), "
    if status:
        return Result(status, document, f"{subject}taken back, {seconds:.1f} s")
    done = sum(step.changed for step in report.steps)
    text = f"{subject}wiring {report.wiring}, {done} of {len(report.steps)} steps changed something, "
    text += f"{seconds:.1f} s"
    return Result(status, document, text + (f"\n{report.reason}" if report.reason else ""))


def _agent() -> bytes:
    data = resources.agent_bytes()
    if data is None:
        raise RefusedError(
            "install leaves itself on the node, and this is not the zipapp",
            found="a source checkout or an installed package",
            expected="soci-bootstrap.pyz",
            remedy="run scripts/build, then dist/soci-bootstrap.pyz",
        )
    return data
