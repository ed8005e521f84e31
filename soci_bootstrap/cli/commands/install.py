"""`install` and `bake`: settings + facts -> plan -> apply -> record, and failing open."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from soci_bootstrap.apply.context import Context
from soci_bootstrap.apply.run import Convergence
from soci_bootstrap.errors import BootstrapError, RefusedError, StoppedError
from soci_bootstrap.facts.machine import architecture
from soci_bootstrap.plan.steps import Step
from soci_bootstrap.settings import Settings
from soci_bootstrap.state.record import load
from soci_bootstrap.system import System, journal, lock, resources, signals
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline

_STATUS = {"failed": 1, "degraded": 2}


@dataclass(frozen=True)
class InstallResult:
    """What `install` found and did; ``document`` is the contract's JSON object."""

    outcome: str
    reason: str | None
    steps: tuple[Step, ...]
    version: str
    arch: str | None
    sha256: str | None
    wiring: str | None
    seconds: float

    @property
    def exit_status(self) -> int:
        """0, 1 for failed, 2 for degraded."""
        return _STATUS.get(self.outcome, 0)

    @property
    def document(self) -> Mapping[str, object]:
        """The contract's object."""
        steps = [
            {"name": step.name, **({"path": step.path} if step.path else {}), "changed": step.changed}
            for step in self.steps
        ]
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "steps": steps,
            "soci_version": self.version,
            "arch": self.arch,
            "sha256": self.sha256,
            "wiring": self.wiring,
            "seconds": round(self.seconds, 3),
        }

    @property
    def text(self) -> str:
        """A line for people."""
        if self.exit_status:
            return f"{self.outcome}: SOCI {self.version} ({self.arch}), taken back, {self.seconds:.1f} s"
        done = sum(step.changed for step in self.steps)
        line = f"{self.outcome}: SOCI {self.version} ({self.arch}), wiring {self.wiring}, "
        line += f"{done} of {len(self.steps)} steps changed something, {self.seconds:.1f} s"
        return line + (f"\n{self.reason}" if self.reason else "")


def run(settings: Settings, console: Console) -> InstallResult:
    """Install on this node, or into the image below ``--root``.

    Raises:
        RefusedError: nothing was changed; exit status 1.
        BootstrapError: before anything was changed, or with everything taken back again.
    """
    started = time.monotonic()
    deadline = Deadline(settings.deadline)
    system = System(settings.root)
    architecture(settings.arch)
    agent = _agent()
    with lock.held(system, deadline):
        run_ = Convergence(Context(system, settings, console, deadline, agent, load(system)))
        try:
            outcome, reason = run_.install()
        except RefusedError:
            run_.undo(everything=True)
            raise
        except BootstrapError as error:
            outcome, reason = _failed(run_, settings, error), str(error)
        except Exception as error:  # noqa: BLE001 - whatever happens, a node must join and say why
            console.debug(_traceback())
            bug = BootstrapError(
                f"unexpected {type(error).__name__}: {error}",
                remedy="run it again with -v and report this as a bug",
            )
            outcome, reason = _failed(run_, settings, bug), str(bug)
        except KeyboardInterrupt:
            signals.ignore_more()
            stopped = StoppedError()
            outcome, reason = _failed(run_, settings, stopped), str(stopped)
        result = InstallResult(
            outcome,
            reason,
            run_.steps,
            run_.planning.version,
            run_.arch,
            run_.sha256,
            run_.planning.mode,
            time.monotonic() - started,
        )
        written = outcome in {"installed", "changed", "staged"} or run_.kept_settings
        if written and settings.command == "install":
            converged = replace(
                result, outcome="unchanged", reason=None, steps=as_done(run_.steps), seconds=0.0
            )
            run_.memorize(sys.argv[1:], os.environ, converged.document, converged.text)
    return result


def _traceback() -> str:
    import traceback

    return traceback.format_exc()


def as_done(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps as a run reports them that finds all of them done."""
    return tuple(replace(step, changed=False) for step in steps)


def _failed(run_: Convergence, settings: Settings, error: BootstrapError) -> str:
    """Take everything back; a node keeps the agent and its boot-time unit, for the next boot's try."""
    strict = settings.strict or not settings.live or settings.command == "bake"
    outcome = "failed" if strict else "degraded"
    image = not settings.live or settings.command == "bake"
    left = run_.undo(everything=image)
    if not image:
        left += run_.fall_back(str(error), undone=not left)
        journal.error(f"{outcome.upper()} {error}")
    for failure in left:
        run_.console.warn(f"could not be put back: {failure}")
    return outcome


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
