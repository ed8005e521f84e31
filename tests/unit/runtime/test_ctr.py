from __future__ import annotations

import pytest

from soci_bootstrap.errors import CommandError
from soci_bootstrap.runtime.ctr import Ctr
from soci_bootstrap.system.programs import Completed
from tests.support.nodes import Node, captured, write

CTR = "ctr -n k8s.io "
CHECK = b"""\
REF TYPE DIGEST STATUS SIZE UNPACKED
docker.io/library/a:1 application/vnd.oci.image.index.v1+json sha256:11 complete (2/2) 1.0 MiB/1.0 MiB true
docker.io/library/b:1 application/vnd.oci.image.index.v1+json sha256:22 complete (2/2) 1.0 MiB/1.0 MiB false
localhost/kubernetes/pause:latest application/x sha256:33 complete (2/2) 1.0 MiB/1.0 MiB false
sha256:22 application/x sha256:22 incomplete (1/2) 1.0 MiB/2.0 MiB false
"""
LS = b"""\
REF TYPE DIGEST SIZE PLATFORMS LABELS
docker.io/library/a:1 application/x sha256:11 1.0 MiB linux/amd64 io.cri-containerd.image=managed
docker.io/library/b:1 application/x sha256:22 1.0 MiB linux/amd64 io.cri-containerd.image=managed
localhost/kubernetes/pause:latest application/x sha256:33 1 MiB linux/amd64 io.cri-containerd.pinned=pinned
sha256:22 application/x sha256:22 1.0 MiB linux/amd64 -
"""
SNAPSHOTS = b"""\
KEY       PARENT    KIND
sha256:a            Committed
sha256:b  sha256:a  Committed
c         sha256:b  Active
"""
NO_FLAG = Completed(1, b"Incorrect Usage: flag provided but not defined: -discard-unpacked-layers\n", b"")


def node(tmp_path, **programs):
    return Node(tmp_path, {CTR + words: answer for words, answer in programs.items()} or {"ctr": b""})


def asked(tmp_path, programs) -> Node:
    return Node(tmp_path, {CTR + words: answer for words, answer in programs.items()})


def test_probe(tmp_path) -> None:
    found = asked(
        tmp_path, {"snapshots --snapshotter soci prepare": b"", "snapshots --snapshotter soci rm": b""}
    )
    Ctr(found).probe_snapshot("soci")
    prepared, removed = found.calls
    key = prepared.split()[-1]
    assert key.startswith("soci-bootstrap-probe-")
    assert prepared.endswith(f"prepare {key} ")
    assert removed.endswith(f"rm {key}")
    Ctr(found).probe_snapshot("soci")
    assert key not in found.calls[2]


def test_a_probe_that_fails_is_removed_all_the_same(tmp_path) -> None:
    said = captured("ctr-snapshots-soci-down.txt").splitlines()[1]
    found = asked(tmp_path, {"snapshots --snapshotter soci prepare": Completed(1, b"", said), "snapshots": 1})
    with pytest.raises(CommandError, match="dial unix:///run/soci-snapshotter-grpc") as caught:
        Ctr(found).probe_snapshot("soci")
    assert "status 1" in str(caught.value)
    assert [call.split()[6] for call in found.calls] == ["prepare", "rm"]


PAUSE = {"/etc/eks/pause.tar": b"tar"}
IMPORT = "images import --snapshotter soci"


def test_import_without_a_cached_pause_image(tmp_path) -> None:
    found = node(tmp_path)
    assert Ctr(found).import_pause("soci") is False
    assert found.calls == []


def test_import(tmp_path) -> None:
    found = asked(write(tmp_path, PAUSE), {IMPORT: b"unpacking"})
    assert Ctr(found).import_pause("soci") is True
    assert found.calls == [CTR + IMPORT + " --discard-unpacked-layers=false --local /etc/eks/pause.tar"]


@pytest.mark.parametrize("refusal", [NO_FLAG, Completed(1, b"", NO_FLAG.stdout)])
def test_an_older_ctr_knows_no_such_flags(tmp_path, refusal) -> None:
    found = asked(write(tmp_path, PAUSE), {f"{IMPORT} --discard": refusal, f"{IMPORT} /etc": b""})
    assert Ctr(found).import_pause("soci") is True
    assert found.calls[1] == f"{CTR}{IMPORT} /etc/eks/pause.tar"


@pytest.mark.parametrize(
    "programs",
    [
        {IMPORT: Completed(1, b"", b"ctr: failed to extract layer")},
        {
            f"{IMPORT} --discard": NO_FLAG,
            f"{IMPORT} /etc": Completed(1, b"", b"ctr: failed to extract layer"),
        },
    ],
)
def test_an_import_that_fails(tmp_path, programs) -> None:
    with pytest.raises(CommandError, match="failed to extract layer"):
        Ctr(asked(write(tmp_path, PAUSE), programs)).import_pause("soci")


@pytest.mark.parametrize(
    ("check", "ls", "unusable"),
    [
        (CHECK, LS, ["docker.io/library/b:1", "sha256:22"]),
        (CHECK, b"", ["docker.io/library/b:1", "localhost/kubernetes/pause:latest", "sha256:22"]),
        (b"REF TYPE\n", LS, []),
        (b"", b"", []),
        (b"REF\n\n", b"REF\n", []),
    ],
)
def test_unusable_images(tmp_path, check, ls, unusable) -> None:
    found = asked(tmp_path, {"images ls": ls, "images check --snapshotter overlayfs": check})
    assert Ctr(found).unusable_images("overlayfs") == unusable


def test_one_image_that_can_not_be_judged(tmp_path) -> None:
    """An index of another platform alone, or one that lost its configuration."""
    odd = CHECK + b"registry/odd:1 application/x sha256:44 error - false\n"
    said = Completed(1, odd, b"ctr: unable to check registry/odd:1: no match for platform in manifest")
    found = asked(tmp_path, {"images ls": LS, "images check": said})
    assert Ctr(found).unusable_images("overlayfs") == ["docker.io/library/b:1", "sha256:22", "registry/odd:1"]


def test_images_that_are_not_listed_at_all(tmp_path) -> None:
    said = Completed(1, b"", b"ctr: connection error")
    with pytest.raises(CommandError, match="connection error"):
        Ctr(asked(tmp_path, {"images ls": LS, "images check": said})).unusable_images("overlayfs")


def test_remove_images(tmp_path) -> None:
    found = asked(tmp_path, {"images rm": b""})
    Ctr(found).remove_images([])
    Ctr(found).remove_images(["a:1", "b:1"])
    assert found.calls == [CTR + "images rm a:1 b:1"]


@pytest.mark.parametrize(
    ("method", "arguments", "words", "output", "expected"),
    [
        ("snapshots", ("soci",), "snapshots --snapshotter soci ls", SNAPSHOTS, ["sha256:a", "sha256:b", "c"]),
        ("snapshots", ("soci",), "snapshots --snapshotter soci ls", b"KEY PARENT KIND\n", []),
        ("namespaces", (), "namespaces ls -q", b"k8s.io\nmoby\n", ["k8s.io", "moby"]),
        ("tasks", (), "tasks ls", b"TASK PID STATUS\na 1 RUNNING\nb 2 STOPPED\n\n", ["a"]),
        ("containers", (), "containers ls -q", b"a\nb\n", ["a", "b"]),
        ("info", ("a",), "containers info a", b"{}", b"{}"),
        ("kill", ("a", "SIGTERM"), "tasks kill -s SIGTERM a", b"", None),
        ("remove_task", ("a",), "tasks rm -f a", b"", None),
        ("remove_container", ("a",), "containers rm a", b"", None),
    ],
)
def test_what_is_asked(tmp_path, method, arguments, words, output, expected) -> None:
    found = asked(tmp_path, {words: output})
    assert getattr(Ctr(found), method)(*arguments) == expected
    assert found.calls == [CTR + words]
    refused = asked(tmp_path, {words: Completed(1, b"", b"no")})
    with pytest.raises(CommandError, match="failed with status 1"):
        getattr(Ctr(refused), method)(*arguments)


def test_all_processes_of_a_container(tmp_path) -> None:
    found = asked(tmp_path, {"tasks kill": b""})
    Ctr(found).kill("a", "SIGKILL", everything=True)
    assert found.calls == [CTR + "tasks kill -a -s SIGKILL a"]


def test_snapshots_that_stay_without_a_word(tmp_path) -> None:
    listed = {"snapshots --snapshotter soci ls": SNAPSHOTS, "snapshots --snapshotter soci rm": b""}
    with pytest.raises(CommandError, match="still there after they were removed"):
        Ctr(asked(tmp_path, listed)).remove_snapshots("soci")


def test_containers_of_pods(tmp_path) -> None:
    found = asked(tmp_path, {"containers ls": b"a\n"})
    assert Ctr(found).containers(of_pods=True) == ["a"]
    assert found.calls == [CTR + 'containers ls -q labels."io.cri-containerd.kind"']


def test_another_namespace(tmp_path) -> None:
    found = Node(tmp_path, {"ctr -n moby containers ls": b"a\n"})
    assert Ctr(found, namespace="moby").containers() == ["a"]


class Store:
    """Snapshots that are removed as containerd does: never one that has a child."""

    def __init__(self, stuck: str = "") -> None:
        self.parents = {"a": "", "b": "a", "c": "b", "d": "a"}
        self.stuck = stuck

    def ls(self, argv: list[str]) -> bytes:
        rows = [f"{key}  {parent}  Committed\n" for key, parent in self.parents.items()]
        return ("KEY PARENT KIND\n" + "".join(rows)).encode()

    def rm(self, argv: list[str]) -> Completed:
        for key in argv[argv.index("rm") + 1 :]:
            assert key not in self.parents.values()
            if key == self.stuck:
                return Completed(1, b"", b"snapshot is mounted")
            del self.parents[key]
        return Completed(0, b"", b"")


def test_remove_snapshots_children_first(tmp_path) -> None:
    store = Store()
    found = asked(
        tmp_path,
        {
            "snapshots --snapshotter soci ls": store.ls,
            "snapshots --snapshotter soci rm": store.rm,
            "leases create": b"1795-ab\n",
            "leases delete": b"",
        },
    )
    Ctr(found).remove_snapshots("soci")
    assert store.parents == {}
    # Until containerd has collected its garbage, they lie in SOCI's root still.
    assert found.calls[-2:] == [CTR + "leases create", CTR + "leases delete --sync 1795-ab"]


def test_a_snapshot_in_use(tmp_path) -> None:
    store = Store(stuck="c")
    found = asked(
        tmp_path, {"snapshots --snapshotter soci ls": store.ls, "snapshots --snapshotter soci rm": store.rm}
    )
    with pytest.raises(CommandError, match="snapshot is mounted"):
        Ctr(found).remove_snapshots("soci")


def test_no_ctr(tmp_path) -> None:
    with pytest.raises(CommandError, match="ctr is not on this node"):
        Ctr(Node(tmp_path)).namespaces()


def test_a_containerd_that_hangs(tmp_path) -> None:
    found = asked(tmp_path, {"tasks ls": CommandError("ctr did not end", found="no end after 2.0 s")})
    with pytest.raises(CommandError, match="did not end"):
        Ctr(found).tasks()
