"""Images of the active snapshotter: import pause, remove records of images that it lacks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.state import health
from soci_bootstrap.system import System, journal
from soci_bootstrap.system.threads import Task


def try_out(ctr: Ctr) -> None:
    """Import the pause image and probe, side by side: kubelet waits for both.

    Raises:
        BootstrapError: one of them failed.
    """
    probe = Task(partial(ctr.probe_snapshot, "soci"))
    try:
        ctr.import_pause("soci")
    finally:
        probe.result()


def fit_images(system: System, ctr: Ctr, active: str) -> list[str]:
    """After a switch: CRI would report images as present whose snapshots lie in the other snapshotter.

    Cleaning up never keeps anything else from being done; what it left is tried again at the next start.

    Returns:
        What did not work, a sentence each.
    """
    known = health.load(system)
    if known.snapshotter == active:
        return []
    failures: list[str] = []
    if active != "soci":
        try:
            ctr.import_pause(active)
        except BootstrapError as error:
            failures.append(str(error))
    try:
        stranded = ctr.unusable_images(active)
        ctr.remove_images(stranded)
        if stranded:
            journal.say(
                f"removed the records of {len(stranded)} images that {active} lacks; they are pulled again"
            )
        if not failures:
            health.save(system, replace(known, snapshotter=active))
    except BootstrapError as error:
        failures.append(str(error))
    return failures
