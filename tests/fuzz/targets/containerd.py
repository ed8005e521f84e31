"""containerd's TOML: wiring keeps all that is the user's, unwiring changes the snapshotter alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from soci_bootstrap.configfiles import containerd, containerd_text, toml
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts import registries
from tests.fuzz.files import Files
from tests.fuzz.targets import text
from tests.support.corpus.inputs import CASES
from tests.support.corpus.node_files import CONTAINERD
from tests.support.nodes import captured

SEEDS = [
    *(captured(f"containerd-nodeadm-{name}.toml") for name in ("static-soci", "user-v2-migrated", "v3")),
    *(
        found if isinstance(found, bytes) else str(found).encode()
        for case in CASES
        if (found := case.files.get(CONTAINERD)) and len(found) < 2000
    ),
    b"version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = 'soci' # x\n",
    b'plugins."io.containerd.cri.v1.images".snapshotter = "soci"\na = """\n[x]\n"""\nb = [\n"y",\n]\n',
    b'version = 3\n[plugins."io.containerd.cri.v1.images".registry.mirrors."a"]\nendpoint = ["https://b"]\n',
]
_ADDRESS, _ROOT, _NAME = "/run/soci.sock", "/var/lib/soci", "config.toml"
_TOUCHED = {"version", "snapshotter", "disable_snapshot_annotations", "type", "address", "root"}


def one(data: bytes) -> None:
    """Every reader of containerd's configuration."""
    _hooks(data)
    containerd.concurrent_unpacks(data, _NAME)
    registries.observe(Files({}), data, _NAME, None)
    before = toml.loads(data, _NAME)
    for dialect in ("v2", "v3"):
        made = containerd.with_soci(data, dialect, _ADDRESS, _ROOT, _NAME)
        after = toml.loads(made, _NAME)
        _kept(before, after)
        assert containerd.with_soci(made, dialect, _ADDRESS, _ROOT, _NAME) == made, (
            "wiring twice changes it again"
        )
        back = toml.loads(containerd_text.unwired(made), _NAME)
        assert _without_snapshotters(back) == _without_snapshotters(after)
        assert "soci" not in containerd_text.values(
            containerd_text.unwired(made).decode(), containerd_text.KEY, containerd_text.TABLES
        )


def _hooks(data: bytes) -> None:
    """What needs no TOML library must not choke either; and what it leaves is TOML if it was."""
    changed = containerd_text.unwired(data)
    said = text(data)
    assert (
        containerd_text.replace(said, containerd_text.KEY, containerd_text.TABLES, "never there", "x") == said
    )
    assert len(changed.splitlines()) == len(data.splitlines())
    try:
        before = toml.loads(data, _NAME)
    except StateError:
        return
    assert _without_snapshotters(toml.loads(changed, _NAME)) == _without_snapshotters(before)


def _kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    for key, value in before.items():
        if isinstance(value, dict):
            _kept(value, after[key])
        elif key not in _TOUCHED:
            assert repr(after[key]) == repr(value), key


def _without_snapshotters(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_snapshotters(below) for key, below in value.items() if key != "snapshotter"}
    return repr(value)
