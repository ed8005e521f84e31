"""Commands whose results have their document's values as attributes."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from soci_bootstrap.cli.commands import doctor as _doctor
from soci_bootstrap.cli.commands import install as _install
from soci_bootstrap.cli.commands import plan as _plan
from soci_bootstrap.cli.commands import rollback as _rollback
from soci_bootstrap.cli.result import Result


class Done:
    """A command's result: ``outcome``, ``reason`` and what else its document has, by name."""

    def __init__(self, result: Result) -> None:
        self.exit_status, self.document, self.text = result.exit_status, result.document, result.text

    def __getattr__(self, name: str) -> Any:
        try:
            return self.document[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def steps(self) -> tuple[SimpleNamespace, ...]:
        """Its steps, each with name, path and changed."""
        return tuple(SimpleNamespace(**{"path": None, **step}) for step in self.document["steps"])  # type: ignore[attr-defined]

    @property
    def pending(self) -> tuple[SimpleNamespace, ...]:
        """The steps that have something to do."""
        return tuple(step for step in self.steps if step.changed)

    @property
    def diffs(self) -> dict[str, str]:
        """The diffs of `plan`, by path."""
        return {step.path: step.diff for step in self.steps if hasattr(step, "diff")}


class Command:
    """A command's module whose ``run`` gives a ``Done``; ``module`` is what tests patch."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def run(self, *arguments: Any) -> Done:
        """Run it."""
        return Done(self.module.run(*arguments))


doctor, install = Command(_doctor), Command(_install)
plan, rollback = Command(_plan), Command(_rollback)
