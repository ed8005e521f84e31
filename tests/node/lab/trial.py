"""What `scripts/try` does once the tools are there: build, then a node or, without root, a scratch tree."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.node.lab import rootfs, trial_node, trial_tree
from tests.node.lab.node import CommandError
from tests.node.lab.report import Report, size
from tests.node.lab.rootfs import LabError

REPOSITORY = Path(__file__).parents[3]
ZIPAPP = REPOSITORY / "dist" / "soci-bootstrap.pyz"


def main() -> int:
    """Parse, and try; 0 if everything is as it should be."""
    parser = argparse.ArgumentParser(prog="try")
    parser.add_argument("root", nargs="?", choices=rootfs.NODE_ROOTS, default="trixie-containerd2")
    parser.add_argument("--setup-seconds", type=float, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    # So that the node goes too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    report = Report()
    try:
        report.section("Building")
        report.took("setup", "packages and tools", options.setup_seconds)
        build_zipapp(report)
        if os.geteuid():
            trial_tree.install(report, ZIPAPP)
        else:
            trial_node.boot(report, ZIPAPP, options.root)
    except (LabError, CommandError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"try: {error}\n{getattr(error, 'stderr', None) or ''}")
        return 1
    except KeyboardInterrupt:
        return 130
    report.conclude()
    return 1 if report.failures else 0


def build_zipapp(report: Report) -> None:
    """`scripts/build`."""
    with report.step("zipapp") as step:
        done = subprocess.run([REPOSITORY / "scripts/build"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"scripts/build ended with {done.returncode}\n{done.stdout}{done.stderr}")
        stub = ZIPAPP.with_name("bootstrap.sh")
        step.found = (
            f"dist/{ZIPAPP.name}, {size(ZIPAPP.stat().st_size)}; the stub, {size(stub.stat().st_size)}"
        )
        # "No byte code" and the like.
        step.notes = [line for line in done.stderr.splitlines() if line.startswith("build:")]


if __name__ == "__main__":
    sys.exit(main())
