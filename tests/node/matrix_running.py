"""Rows: a node that has been up, restarts of its services, reboots, and runs cut short."""

from __future__ import annotations

from tests.node.lab import images
from tests.node.lab.eks import Ami
from tests.node.lab.server import Fault
from tests.node.matrix import (
    AGENT,
    FAULT,
    HOOKS,
    OVERLAYFS,
    RECORD,
    SOCI,
    VERIFY,
    Bench,
    Outcome,
    Row,
    guarded,
)
from tests.node.matrix_rows import MIRROR, OLDER, daemon, serving

TARBALL = "--tarball /opt/soci.tgz --sha256 {sha256}"


def starts_of_containerd(bench: Bench) -> int:
    """How often it was started in this boot."""
    return bench.sh("journalctl -b -u containerd -o cat").count("Starting containerd")


def kill_soci(bench: Bench, fault: str = "exit") -> None:
    """SOCI's daemon dies, and each new one too."""
    bench.sh(f"{daemon(fault)}; systemctl kill --signal=KILL soci-snapshotter.service")
    bench.wait(lambda: bench.node.state("soci-snapshotter.service") != "active")


def _dies_once(bench: Bench) -> None:
    container, via = bench.start()
    assert via == SOCI
    before = starts_of_containerd(bench)
    bench.sh("systemctl kill --signal=KILL soci-snapshotter.service")
    bench.wait(lambda: bench.node.show("soci-snapshotter.service", "NRestarts")["NRestarts"] == "1")
    bench.wait(lambda: bench.node.state("soci-snapshotter.service") == "active")
    assert bench.runs(container)
    assert starts_of_containerd(bench) == before, "the proxy plugin dials again by itself"


def _restarted_without_containers(bench: Bench) -> None:
    kill_soci(bench)
    bench.sh("systemctl restart containerd")


def _restarted_with_containers(bench: Bench) -> None:
    container, via = bench.start()
    assert via == SOCI
    kill_soci(bench)
    bench.sh("systemctl restart containerd")
    assert bench.node.state("containerd") == "active"
    assert bench.snapshotter() == SOCI, "a node with containers on SOCI is never unwired"
    assert bench.lies(guarded("containers run on it")) == []
    assert bench.runs(container)
    before = starts_of_containerd(bench)
    bench.sh(f"rm {FAULT}")
    bench.wait(lambda: starts_of_containerd(bench) > before and bench.node.state("containerd") == "active")
    bench.sh("systemctl restart soci-snapshotter; sleep 1")
    bench.wait(lambda: bench.node.state("containerd") == "active")
    assert starts_of_containerd(bench) == before + 1, "containerd is restarted once"
    assert bench.runs(container)


def _fails_open_after_a_reboot(bench: Bench) -> None:
    image = images.app(seed=b"kept")
    reference = bench.registry.push(image, "kept")
    assert bench.start_reference(reference)[1] == SOCI
    # As discard_unpacked_layers leaves it: nothing to unpack from for another snapshotter.
    bench.sh(f"ctr -n k8s.io content rm {' '.join(image.layers)}")
    bench.sh(daemon("exit"))
    bench.reboot()
    assert bench.start_reference(reference)[1] == OVERLAYFS
    assert images.PAUSE in bench.sh("ctr -n k8s.io images ls -q")


def _comes_back(bench: Bench) -> None:
    assert bench.problems(OVERLAYFS) == []
    bench.sh(f"rm {FAULT}")
    bench.reboot()


def _and_back_again(bench: Bench) -> None:
    _fails_open_after_a_reboot(bench)
    reference = "registry.test:5000/kept:latest"
    bench.sh(f"rm {FAULT}")
    bench.reboot()
    assert bench.start_reference(reference)[1] == SOCI


def _cut_short(bench: Bench) -> None:
    """The plug is pulled while install fetches; userData does not run again."""
    bench.node.boot(wait=False)
    bench.wait(lambda: bench.mirror.log)
    bench.reboot()


def _installs_again(bench: Bench) -> None:
    """What the killed run left is no obstacle: the node joined, and the next run converges."""
    problems = bench.problems(SOCI), bench.problems(OVERLAYFS)
    assert [] in problems, problems
    bench.sh(f"python3 /opt/soci-bootstrap.pyz install {TARBALL.format(sha256=bench.release.sha256)} --force")
    bench.reboot()


def killed_before(path: str, time: int = 1) -> Row:
    """Install is killed where it would change a path for the n-th time."""
    source = f"""
_left = {time}
def _mortal(method):
    def call(self, path, *rest, **named):
        global _left
        if {path!r} in (path, *rest) and os.path.exists("/opt/mortal"):
            _left -= 1
            if not _left:
                os.unlink("/opt/mortal")
                os.kill(os.getpid(), 9)
        return method(self, path, *rest, **named)
    return call
for _name in ("write", "adopt", "link", "remove"):
    setattr(System, _name, _mortal(getattr(System, _name)))"""
    return Row(
        f"killed before {path.rsplit('/', 1)[1]} ({time})",
        before="touch /opt/mortal",
        patches=(("system", source),),
        outcome=Outcome(137, "installed"),
        act=_installs_again,
    )


RUNNING = [
    Row("SOCI dies once", act=_dies_once),
    Row(
        "containerd restarted while SOCI is down",
        OVERLAYFS,
        guarded("SOCI did not answer"),
        act=_restarted_without_containers,
        saved_by=HOOKS,
    ),
    Row("the same with containers on SOCI", act=_restarted_with_containers),
]
REBOOTS = [
    Row("reboot", act=lambda bench: bench.reboot()),
    *[Row(f"reboot, {ami.root}", ami=ami, act=lambda bench: bench.reboot()) for ami in OLDER],
    Row(
        "SOCI dead after a reboot, images on it",
        OVERLAYFS,
        guarded("SOCI did not answer"),
        act=_fails_open_after_a_reboot,
        saved_by=(VERIFY,),
    ),
    *[
        Row(
            f"SOCI dead after a reboot, images on it, {ami.root}",
            OVERLAYFS,
            guarded("SOCI did not answer"),
            ami=ami,
            act=_fails_open_after_a_reboot,
        )
        for ami in OLDER
    ],
    Row("and well again after the next", act=_and_back_again),
    Row("guard failed open, next boot without network", before=daemon("exit unit"), act=_comes_back),
    Row(
        "install failed open, next boot without network",
        options="--deadline 10",
        before=daemon("exit"),
        act=_comes_back,
        outcome=Outcome(2, "installed"),
    ),
]
CUT_SHORT = [
    Row(
        "reboot while install fetches",
        OVERLAYFS,
        Outcome(None, "failed", "boot fetches nothing"),
        ami=Ami(generation=20250812),
        options=MIRROR,
        prepare=serving(Fault.HANG),
        first=_cut_short,
    ),
    Row(
        "the same where the AMI brings SOCI",
        outcome=Outcome(None),
        options=MIRROR,
        prepare=serving(Fault.HANG),
        first=_cut_short,
    ),
    killed_before(AGENT),
    killed_before("/usr/local/bin/soci-snapshotter-grpc"),
    killed_before("/etc/systemd/system/containerd.service.d/50-soci-bootstrap.conf"),
    killed_before("/etc/eks/nodeadm.d/50-soci-bootstrap.json"),
    killed_before(RECORD, 4),
]
ROWS = [*RUNNING, *REBOOTS, *CUT_SHORT]
