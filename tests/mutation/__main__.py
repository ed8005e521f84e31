"""Do the tests notice when the code is wrong? python -m tests.mutation [--share N] [--seed N] [MODULE]...

Each mutant is loaded in place of its module, in a fork of this process, and its module's tests run
until one fails. What no test notices is printed. A sample with a fixed seed: `--share 1` is all of them.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import hypothesis  # noqa: F401 - so that no fork has to import it again
import pytest
import requests  # noqa: F401

from tests.mutation.mutants import Mutant, mutants

ROOT = Path(__file__).parents[2]
TESTS = {
    "desired": ("desired", "preview"),
    "plan": ("plan", "preview"),
    "wiring": ("wiring", "desired", "plan"),
    "record": ("record", "hostile_records", "rollback", "converge", "boot"),
    "ownership": ("ownership", "rollback"),
    "fetch": ("fetch", "digests", "request"),
    "download": ("download", "fetch"),
    "archive": ("archive",),
    "gunzip": ("archive",),
    "digests": ("digests", "fetch"),
    "staged": ("staged", "fetch"),
    "retry": ("retry", "download"),
    "request": ("request", "fetch"),
    "containerd": ("containerd",),
    "tomltext": ("tomltext", "unwire"),
}
"""The modules that decide what is written, and the tests that are theirs."""
_HANGS = 120
_NOTICED, _SURVIVED = 1, 0


def main(argv: Sequence[str]) -> int:
    """Try the sample; print the score and what survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("module", nargs="*", choices=[*TESTS, []], help="all by default")
    parser.add_argument("--share", type=float, default=0.25, help="of all mutants (0.25)")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(argv)
    total = noticed = 0
    for module in asked.module or TESTS:
        source = (ROOT / "soci_bootstrap" / f"{module}.py").read_text()
        if _status(module, Mutant(0, "nothing", ast.parse(source))) != _SURVIVED:
            print(f"{module}: its tests fail as it is", file=sys.stderr)
            return 1
        made = list(mutants(source))
        chosen = random.Random(f"{asked.seed}{module}").sample(made, max(1, round(len(made) * asked.share)))
        started = time.monotonic()
        survivors = [mutant for mutant in chosen if _status(module, mutant) == _SURVIVED]
        total += len(chosen)
        noticed += len(chosen) - len(survivors)
        print(
            f"{module:<12} {len(chosen) - len(survivors):>3} of {len(chosen):>3} noticed"
            f" ({len(made)} in all, {time.monotonic() - started:.0f} s)",
            flush=True,
        )
        for mutant in sorted(survivors, key=lambda one: one.line):
            print(f"    {module}.py:{mutant.line}  {mutant.what}", flush=True)
    print(f"noticed {noticed} of {total} ({100 * noticed / max(1, total):.0f} %)")
    return 0


def _status(module: str, mutant: Mutant) -> int:
    child = os.fork()
    if child == 0:
        status = 3
        try:
            os.setsid()
            status = _run(module, mutant)
        finally:
            os._exit(status)
    end = time.monotonic() + _HANGS
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return _SURVIVED if os.waitstatus_to_exitcode(status) == 0 else _NOTICED
        time.sleep(0.02)
    # A mutant that hangs is noticed by whoever waits; its processes are in a session of their own.
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return _NOTICED


def _run(module: str, mutant: Mutant) -> int:
    quiet = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(quiet, fd)
    sys.meta_path.insert(0, _Wrong(f"soci_bootstrap.{module}", mutant.tree))
    files = [ROOT / "tests" / "unit" / f"test_{name}.py" for name in TESTS[module]]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = scratch
        os.chdir(ROOT)
        options = [
            "-x",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            f"--basetemp={scratch}/t",
        ]
        return int(pytest.main([*options, *(str(file) for file in files if file.exists())]))


class _Wrong(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Loads the mutant where its module is asked for."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self._name, self._tree = name, tree

    def find_spec(self, fullname, path, target=None):
        if fullname != self._name:
            return None
        spec = importlib.util.spec_from_loader(fullname, self)
        assert spec is not None
        spec.origin = str(ROOT / "soci_bootstrap" / f"{fullname.rpartition('.')[2]}.py")
        spec.has_location = True
        return spec

    def get_source(self, fullname):
        return ast.unparse(self._tree)

    def get_code(self, fullname):
        return compile(self._tree, self._name, "exec")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
