"""Outputs of real programs, and what doctor takes from them."""

from __future__ import annotations

import json

import pytest

from soci_bootstrap.doctor.observe import outputs
from soci_bootstrap.doctor.observe.node import Unit
from soci_bootstrap.system.systemd import blocks
from tests.support.nodes import captured

PAUSE = "localhost/kubernetes/pause:latest"


def test_units() -> None:
    shown = b"""Id=soci-snapshotter.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart
UnitFileState=enabled
DropInPaths=/etc/a.conf /etc/b.conf
NeedDaemonReload=yes
NRestarts=7
MainPID=12
ActiveEnterTimestampMonotonic=2500000
Result=exit-code
InvocationID=abc

Id=kubelet.service
LoadState=not-found
ActiveState=inactive
NRestarts=[not set]
MainPID=
"""
    found = outputs.units(blocks(shown.decode()))
    assert found["soci-snapshotter.service"] == Unit(
        "loaded",
        "activating",
        "auto-restart",
        "enabled",
        ("/etc/a.conf", "/etc/b.conf"),
        reload=True,
        restarts=7,
        pid=12,
        started=2.5,
        result="exit-code",
        invocation="abc",
    )
    assert (found["kubelet.service"].restarts, found["kubelet.service"].load) == (0, "not-found")


@pytest.mark.parametrize(
    "output", [b"", b"\n\n\n", b"nonsense", b"Id", b"\xff\xfe=\x00", captured("systemctl-show.txt")]
)
def test_units_of_nonsense(output: bytes) -> None:
    assert outputs.units(blocks(output.decode("utf-8", "replace"))) == {}


def test_unpacked() -> None:
    output = b"""REF TYPE DIGEST STATUS SIZE UNPACKED
localhost/kubernetes/pause:latest application/x sha256:a complete (2/2) 1.0 KiB/1.0 KiB true
docker.io/x:1 application/x sha256:b incomplete (1/2) 1 B/2 B false

"""
    assert outputs.unpacked(output) == {PAUSE: True, "docker.io/x:1": False}


def line(message: object, priority: object = "6") -> bytes:
    return json.dumps({"MESSAGE": message, "PRIORITY": priority}).encode()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line("all is well")], ()),
        ([line('{"level":"info","msg":"x"}')], ()),
        ([line('{"level":"error","msg":"fetch","error":"refused"}')], ("fetch: refused",)),
        ([line('{"level":"fatal"}')], ('{"level":"fatal"}',)),
        ([line("Failed with result 'exit-code'.", "3")], ("Failed with result 'exit-code'.",)),
        ([line(list(b"\xffbytes"), "2")], ("\ufffdbytes",)),
        ([b"", b"nonsense", b"[]", b'{"PRIORITY": "3"}', line(None, "6"), line("[1]")], ()),
        ([line("one", "3"), line("two", "0")], ("one", "two")),
    ],
)
def test_journal_errors(lines: list[bytes], expected: tuple[str, ...]) -> None:
    assert outputs.journal_errors(b"\n".join(lines)) == expected


MOUNTS = """21 1 259:1 / / rw,noatime shared:1 - xfs /dev/nvme0n1p1 rw
40 21 9:127 / /var/lib/containerd rw,noexec - xfs /dev/md127 rw
41 21 0:40 / /mnt/with\\040blank rw - tmpfs tm\\134p rw
42 40 0:41 / /var/lib/containerd rw - tmpfs on-top rw
short line
"""


@pytest.mark.parametrize(
    ("path", "source", "options"),
    [
        ("/usr/bin", "/dev/nvme0n1p1", ("rw", "noatime")),
        ("/var/lib/containerd/x", "on-top", ("rw",)),
        ("/var/lib/containerd", "on-top", ("rw",)),
        ("/var/lib/containerd-else", "/dev/nvme0n1p1", ("rw", "noatime")),
        ("/mnt/with blank/x", "tm\\p", ("rw",)),
    ],
)
def test_mount_of(path: str, source: str, options: tuple[str, ...]) -> None:
    assert outputs.mount_of(MOUNTS, path) == (source, options)


def test_mount_of_nothing() -> None:
    assert outputs.mount_of("", "/x") == ("", ())


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x7fELF\x02\x01" + bytes(12) + b"\x3e\x00", "amd64"),
        (b"\x7fELF\x02\x01" + bytes(12) + b"\xb7\x00", "arm64"),
        (b"\x7fELF\x02\x02" + bytes(12) + b"\x00\x15", "machine 21"),
        (b"\x7fELF", ""),
        (b"#!/bin/sh\n", ""),
        (b"", ""),
    ],
)
def test_elf_arch(head: bytes, expected: str) -> None:
    assert outputs.elf_arch(head) == expected


def test_resident() -> None:
    assert outputs.resident("Name:\tsoci\nVmRSS:\t  9 kB\nRssAnon:\t   2048 kB\n") == 2 << 20
    assert outputs.resident("") == 0
