"""Rows: what goes wrong with fetching, the disk, SOCI itself and what it stands on."""

from __future__ import annotations

from collections.abc import Callable

from tests.node.lab.eks import Ami
from tests.node.lab.server import Fault
from tests.node.lab.soci import build
from tests.node.matrix import (
    AGENT,
    FAULT,
    HOOKS,
    OVERLAYFS,
    PREFLIGHT,
    VERIFY,
    Bench,
    Row,
    guarded,
    refused,
)

MIRROR = "--mirror {mirror} --sha256 {sha256}"
OLDER = (Ami("bookworm", 20251208), Ami("bullseye", 20250812))
"""containerd 1.6 with nodeadm.d; containerd 1.4 and Python 3.9 without."""


def serving(fault: Fault) -> Callable[[Bench], None]:
    """The release on the mirror, and what is wrong with the mirror."""

    def prepare(bench: Bench) -> None:
        bench.mirror.release(bench.release)
        bench.mirror.fault = fault

    return prepare


def daemon(fault: str) -> str:
    """A script that breaks SOCI's daemon; with ``unit`` only as a service."""
    return f"echo '{fault}' > {FAULT}"


def at_start(fault: str, *, ami: Ami | None = None) -> Row:
    """SOCI passes the preflight and fails as a service."""
    name = f"SOCI: {fault.split(maxsplit=1)[0]} when containerd starts" + (f", {ami.root}" if ami else "")
    outcome = guarded("SOCI did not answer")
    return Row(name, OVERLAYFS, outcome, ami=ami or Ami(), before=daemon(fault), saved_by=HOOKS)


def broken_pause(ami: Ami | None = None) -> Row:
    """The pause image can't be brought into SOCI."""
    name = "pause import fails" + (f", {ami.root}" if ami else "")
    script = "echo nonsense > /etc/eks/pause.tar"
    return Row(
        name, OVERLAYFS, guarded("failed its check"), ami=ami or Ami(), after=script, saved_by=(VERIFY,)
    )


FETCHING = [
    Row("from a mirror", options=MIRROR, prepare=serving(Fault.NONE), saved_by=(VERIFY,)),
    Row(
        "DNS failure",
        OVERLAYFS,
        refused("resolve|resolution|name"),
        options="--mirror https://nowhere.test --sha256 {sha256} --deadline 5",
    ),
    Row(
        "connection refused",
        OVERLAYFS,
        refused("refused"),
        options="--mirror https://mirror.test:9 --sha256 {sha256} --deadline 5",
    ),
    Row(
        "server hangs",
        OVERLAYFS,
        refused("no answer|deadline"),
        options=MIRROR + " --deadline 5",
        prepare=serving(Fault.HANG),
    ),
    Row(
        "500s",
        OVERLAYFS,
        refused("500"),
        options=MIRROR + " --deadline 5",
        prepare=serving(Fault.SERVER_ERROR),
    ),
    Row(
        "truncated body",
        OVERLAYFS,
        refused("cut short"),
        options=MIRROR + " --deadline 5",
        prepare=serving(Fault.TRUNCATE),
    ),
    Row(
        "wrong digest",
        OVERLAYFS,
        refused("0{64}"),
        options="--mirror {mirror} --sha256 " + "0" * 64,
        prepare=serving(Fault.NONE),
    ),
]
DISK = [
    Row(
        "no space left",
        OVERLAYFS,
        refused("[Nn]o space"),
        before="mount -t tmpfs -o size=64k tmpfs /usr/local/bin",
    ),
    Row(
        "read-only /usr/local",
        OVERLAYFS,
        refused("[Rr]ead-only"),
        before="mount --bind /usr/local /usr/local; mount -o remount,bind,ro /usr/local",
    ),
    Row(
        "read-only /etc",
        OVERLAYFS,
        refused("[Rr]ead-only"),
        before="mount --bind /etc /etc; mount -o remount,bind,ro /etc",
    ),
]
SOCI_FAILS = [
    Row(
        "SOCI: exit",
        OVERLAYFS,
        refused("SOCI snapshotter does not run"),
        before=daemon("exit"),
        saved_by=(PREFLIGHT, *HOOKS),
    ),
    Row("SOCI: never-ready", OVERLAYFS, refused("no answer in time"), before=daemon("never-ready")),
    Row("SOCI: mute", OVERLAYFS, refused("no answer in time"), before=daemon("mute")),
    at_start("exit unit"),
    at_start("never-ready unit"),
    at_start("mute unit"),
    *[at_start("exit unit", ami=ami) for ami in OLDER],
    Row(
        "SOCI: exit when containerd starts, guard cut off",
        OVERLAYFS,
        guarded("does not answer after containerd's start"),
        before=daemon("exit unit"),
        patches=(("hooks.guard", "guard = lambda *arguments: None"),),
        saved_by=(VERIFY,),
    ),
    Row(
        "wrong-architecture binary",
        OVERLAYFS,
        refused("[Ee]xec format|architecture"),
        release=lambda: build.release(wrong_machine=True),
        saved_by=(PREFLIGHT, *HOOKS),
    ),
    Row(
        "config.toml is nonsense",
        OVERLAYFS,
        guarded("SOCI did not answer"),
        after="echo '= nonsense' > /etc/soci-snapshotter-grpc/config.toml",
        saved_by=HOOKS,
    ),
    broken_pause(),
    *[broken_pause(ami) for ami in OLDER],
]


def _reboot(bench: Bench) -> None:
    bench.reboot()


def _fails_open_then_reboots(bench: Bench) -> None:
    assert bench.problems(OVERLAYFS) == []
    bench.reboot()


def _hung(bench: Bench) -> None:
    """The shell in containerd's drop-in failed open; the next hook that runs records it."""
    assert bench.problems(OVERLAYFS) == []
    assert "SOCI could not be checked" in bench.sh("journalctl -b -u containerd -o cat")
    bench.sh(f"cp /opt/soci-bootstrap.pyz {AGENT}; systemctl restart containerd")


_HIDE_PYTHON = """
p=$(readlink -f /usr/bin/python3)
sed -i "s,/usr/bin/python3,$p," /usr/bin/nodeadm /usr/bin/kubelet
rm /usr/bin/python3"""
LATER = [
    Row(
        "config.toml is nonsense, reboot",
        after="echo '= x' > /etc/soci-snapshotter-grpc/config.toml",
        act=_reboot,
    ),
    Row(
        "unpigz uninstalled",
        OVERLAYFS,
        guarded("SOCI did not answer"),
        after="rm /usr/bin/unpigz",
        saved_by=HOOKS,
    ),
    Row("unpigz uninstalled, reboot", after="rm /usr/bin/unpigz", act=_fails_open_then_reboots),
    Row(
        "our decompressor removed, reboot",
        ami=Ami("bullseye"),
        after="rm -r /usr/local/libexec/soci-bootstrap",
        act=_fails_open_then_reboots,
    ),
    Row("python3 gone", after=_HIDE_PYTHON),
    Row("python3 gone, bullseye", after=_HIDE_PYTHON, ami=Ami("bullseye")),
    Row(
        "hooks hang",
        OVERLAYFS,
        guarded("did not end in time"),
        after=f"printf '#!/bin/sh\\nexec sleep 1000\\n' > {AGENT}",
        act=_hung,
    ),
    Row("the agent is gone", after=f"rm {AGENT}"),
]
ROWS = [*FETCHING, *DISK, *SOCI_FAILS, *LATER]
