from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest

from soci_bootstrap.facts import content_store
from soci_bootstrap.facts.content_store import ContentStore, observe, pause_members
from soci_bootstrap.system import System
from tests.support.nodes import write

ROOT = "/var/lib/containerd"
BLOBS = f"{ROOT}/io.containerd.content.v1.content/blobs/sha256"
SNAPSHOTS = f"{ROOT}/io.containerd.snapshotter.v1.overlayfs/snapshots"
LAYER, OTHER, MANIFEST = b"\x1f\x8bpause layer", b"\x1f\x8banother layer", json.dumps({"layers": []}).encode()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pause_tar(*members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("blobs"))
        directory = tarfile.TarInfo("blobs/sha256")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for data in members:
            member = tarfile.TarInfo(f"blobs/sha256/{digest(data)}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


PAUSE = {"/etc/eks/pause.tar": pause_tar(LAYER, MANIFEST)}


def blobs(*data: bytes) -> dict[str, bytes]:
    return {f"{BLOBS}/{digest(one)}": one for one in data}


@pytest.mark.parametrize(
    ("files", "foreign"),
    [
        ({}, None),
        (PAUSE, None),
        ({**PAUSE, **blobs(LAYER, MANIFEST)}, None),
        ({**PAUSE, **blobs(LAYER, OTHER)}, OTHER),
        ({**PAUSE, **blobs(b"{}", b"[1]")}, None),
        # Without the pause image's archive nothing is known to be the pause image's.
        (blobs(LAYER, MANIFEST), LAYER),
        ({"/etc/eks/pause.tar": b"not an archive", **blobs(LAYER)}, LAYER),
        ({"/etc/eks/pause.tar": b"", **blobs(LAYER)}, LAYER),
        ({"/etc/eks/pause.tar": pause_tar(LAYER)[:700], **blobs(LAYER)}, LAYER),
        (blobs(b""), b""),
        (blobs(b"{truncated"), b"{truncated"),
        (blobs(b"[" * 200_000), b"[" * 200_000),
        ({f"{BLOBS}/{digest(OTHER)}": None}, OTHER),
    ],
)
def test_foreign_layers(tmp_path, files, foreign) -> None:
    found = observe(System(str(write(tmp_path, files))), ROOT)
    assert found.foreign_layer == (f"sha256:{digest(foreign)}" if foreign is not None else "")
    assert found.may_discard is (foreign is None)


def test_json_too_large_to_be_a_manifest(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(content_store, "_JSON_MAX", 10)
    assert not observe(System(str(write(tmp_path, blobs(b'{"larger": "than that"}')))), ROOT).may_discard


@pytest.mark.parametrize(
    ("files", "beyond"),
    [
        ({**PAUSE, f"{SNAPSHOTS}/1": None}, 0),
        ({**PAUSE, f"{SNAPSHOTS}/1": None, f"{SNAPSHOTS}/2": None, f"{SNAPSHOTS}/3": None}, 2),
        ({f"{SNAPSHOTS}/1": None}, 1),
        ({**PAUSE, **blobs(LAYER)}, 0),
    ],
)
def test_overlayfs_snapshots(tmp_path, files, beyond) -> None:
    assert observe(System(str(write(tmp_path, files))), ROOT).overlayfs_snapshots == beyond


def test_another_root(tmp_path) -> None:
    system = System(str(write(tmp_path, blobs(OTHER))))
    assert observe(system, "/mnt/containerd") == ContentStore()


def test_the_pause_images_own(tmp_path) -> None:
    system = System(str(write(tmp_path, {**PAUSE, **blobs(LAYER, OTHER, MANIFEST)})))
    assert content_store.directory(ROOT) == BLOBS
    assert pause_members(system) == {digest(LAYER), digest(MANIFEST), digest(b"")}
