"""The traps that the real programs set: each is escaped with our rule, and caught a node without it.

A rule is left out by source that is appended to a module of the product, so that the trap itself is seen to
be there: with other versions of the programs it may be gone, and its rule with it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from tests.node.lab import real
from tests.node.matrix import HEALTHY, OVERLAYFS, SOCI, Outcome, guarded, refused
from tests.node.real_bench import FROM_MIRROR, NEEDS_PROGRAMS, STRANDED, RealBench, Rule, layered, row

pytestmark = NEEDS_PROGRAMS
_LOST_SECONDS = 15.0
"""How long a pod that is not expected to run may try."""


@dataclasses.dataclass(frozen=True)
class Trap:
    """A way in which a node can be lost.

    Attributes:
        rule: what saves it.
        act: leads the node into the trap.
        via: the snapshotter that a node ends on that was saved.
        outcome: what is then on record.
        symptom: a pattern of what kubelet or containerd says on a node that was not saved.
        others: arguments of its row.
    """

    rule: Rule
    act: Callable[[RealBench], None] = lambda _: None
    via: str = SOCI
    outcome: Outcome = HEALTHY
    symptom: str = ""
    others: dict[str, object] = dataclasses.field(default_factory=dict)


IMAGE = "trapped"


def _run_image(bench: RealBench, policy: str = "IfNotPresent") -> None:
    bench.run_pod(bench.registry.push(layered(b"trap"), IMAGE), name=IMAGE, policy=policy)


def _soci_dies(bench: RealBench) -> None:
    """A pod's image is in SOCI; the next boot has no SOCI, and the pod is to run all the same."""
    _run_image(bench)
    bench.node.write(
        "/etc/systemd/system/soci-snapshotter.service.d/90-broken.conf",
        "[Service]\nExecStart=\nExecStart=/bin/false\n",
    )
    bench.reboot()
    bench.wait_pod(IMAGE)


_MIRRORED = "private.test:5999"
_HOSTS = f'server = "https://{_MIRRORED}"\n[host."https://registry.test:5000"]\n'


def _behind_a_mirror(bench: RealBench) -> None:
    """certs.d sends containerd to a mirror; the registry itself can't be reached."""
    bench.registry.push(layered(b"mirrored"), IMAGE)
    bench.run_pod(f"{_MIRRORED}/{IMAGE}:latest", name=IMAGE)


_NAME_MIRROR = f"""
echo 127.0.0.1 private.test >> /etc/hosts
mkdir -p /etc/containerd/certs.d/{_MIRRORED}
printf '%s' '{_HOSTS}' > /etc/containerd/certs.d/{_MIRRORED}/hosts.toml
"""
_DIES = "#!/bin/sh\nhead -c 1000 >/dev/null; exit 1\n"
_ASKED_FOR = f"{FROM_MIRROR} --decompressor /opt/unpack"


def _script(path: str, text: str) -> str:
    """A shell command that writes a program."""
    return f"printf '%s' '{text}' > {path}; chmod 755 {path}\n"


def _dies_later(bench: RealBench) -> None:
    """The decompressor that was asked for is another by the next boot."""
    assert bench.problems(SOCI) == [], bench.report()
    bench.node.run(_script("/opt/unpack", _DIES))
    bench.reboot()


NO_PAUSE = Trap(
    Rule("runtime.ctr", "Ctr.import_pause", "lambda *arguments: False"),
    symptom="CreatePodSandboxError.*error getting header info",
)
UNTRIED = Rule("runtime.self_test", "self_test")
TRAPS = {
    **{f"pause, containerd {version}": (version, NO_PAUSE) for version in real.CONTAINERDS},
    "a mirror in certs.d": (
        "2.3.7",
        Trap(
            Rule("apply.preflight", "refuse_unreachable"),
            _behind_a_mirror,
            OVERLAYFS,
            refused("private.test:5999"),
            symptom="private.test:5999.*connection refused",
            others={"before": _NAME_MIRROR},
        ),
    ),
    "images stranded by failing open": (
        "2.4.2",
        Trap(
            STRANDED,
            _soci_dies,
            OVERLAYFS,
            guarded("SOCI did not answer"),
            symptom="content digest .* not found",
        ),
    ),
    "a decompressor that dies": (
        "2.3.7",
        Trap(
            UNTRIED,
            via=OVERLAYFS,
            outcome=refused("/opt/unpack"),
            symptom="exit status 1|context canceled",
            others={"before": _script("/opt/unpack", _DIES), "options": _ASKED_FOR},
        ),
    ),
    "a decompressor that dies later": (
        "2.4.2",
        Trap(
            UNTRIED,
            _dies_later,
            OVERLAYFS,
            Outcome(record="failed", degraded="/opt/unpack"),
            symptom="exit status 1|context canceled",
            others={
                "before": _script("/opt/unpack", "#!/bin/sh\nexec unpigz -dc\n"),
                "options": _ASKED_FOR,
            },
        ),
    ),
}


@pytest.mark.parametrize("name", TRAPS)
def test_the_rule_saves_the_node(name: str) -> None:
    version, trap = TRAPS[name]
    with RealBench(row(name, version, **trap.others)) as bench:
        bench.boot()
        trap.act(bench)
        assert bench.problems(trap.via) == [], bench.report()
        assert bench.lies(trap.outcome) == [], bench.report()


@pytest.mark.parametrize("name", TRAPS)
def test_without_the_rule_the_trap_holds_it(name: str) -> None:
    version, trap = TRAPS[name]
    with RealBench(row(name, version, **trap.others), (trap.rule.patch,)) as bench:
        bench.pod_seconds = _LOST_SECONDS
        bench.boot()
        wrong = _held(bench, trap)
        assert wrong, f"it is not held\n{bench.report()}"
        said = bench.sh("journalctl -b -u kubelet -u containerd -o cat")
        assert re.search(trap.symptom, said), f"{wrong}\n{bench.report()}"


def _held(bench: RealBench, trap: Trap) -> str:
    """Why no pod runs as it should; empty where one does."""
    try:
        trap.act(bench)
    except AssertionError as error:
        return str(error)
    return "; ".join(bench.problems(trap.via))
