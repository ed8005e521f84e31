"""The daemon and the decompressor on their way to the node: fetched and proven before they are used."""

from __future__ import annotations

import os
from contextlib import suppress

from soci_bootstrap.apply import Applier
from soci_bootstrap.configfiles.soci import USUAL_ARGS, Decompressor
from soci_bootstrap.errors import BootstrapError, DecompressorError
from soci_bootstrap.facts import Facts, environment
from soci_bootstrap.plan.items import Daemon
from soci_bootstrap.runtime import self_test
from soci_bootstrap.settings import Settings
from soci_bootstrap.system import System
from soci_bootstrap.system.console import Console
from soci_bootstrap.system.deadline import Deadline
from soci_bootstrap.system.signals import deferred


def fetch(
    item: Daemon, settings: Settings, found: Facts, applier: Applier, deadline: Deadline, console: Console
) -> None:
    """Fetch the daemon, through the proxies that containerd has, and give it its name once verified.

    Raises:
        FetchError: it can't be had, or is not what it must be.
        ArchiveError: the archive is not one that we take anything from.
    """
    from soci_bootstrap.fetch.binary import Request, fetch_binary

    # Whatever stands in the way shows before the daemon is fetched.
    applier.keep(item.path)
    system = applier.system
    staged = system.staged_name(item.path)
    system.remove(staged)
    request = Request(
        item.version,
        item.arch,
        sha256=settings.sha256,
        mirror=settings.mirror,
        tarball=settings.tarball,
    )
    environ = environment.under(found.containerd.variables, os.environ)
    try:
        fetched = fetch_binary(request, system.path(staged), deadline, console, environ)
        if fetched.warning:
            console.warn(fetched.warning)
        applier.adopt(item, staged, fetched)
    except BaseException:
        # A signal between the two would leave it lying there.
        with deferred(), suppress(BootstrapError):
            system.remove(staged)
        raise


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
