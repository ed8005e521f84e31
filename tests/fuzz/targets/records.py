"""Our own records, as a disk or a hand may have left them."""

from __future__ import annotations

import json
from dataclasses import asdict

from soci_bootstrap import paths, settings
from soci_bootstrap.errors import BootstrapError
from soci_bootstrap.plan.steps import leftovers
from soci_bootstrap.state import record as record_
from soci_bootstrap.state import wiring
from soci_bootstrap.state.ownership import state_of
from soci_bootstrap.system.tree import Entry
from tests.fuzz.files import Files

_RECORD = record_.Record(
    outcome="installed",
    binary=record_.Binary("/usr/local/bin/x", "0.15.0", "amd64", "a" * 64, "b" * 64, 1, 2, 3),
    managed={
        "/etc/a": record_.Managed("file", 0o644, "c" * 64, earlier=("d",)),
        "/l": record_.Managed("link"),
    },
    before={"/etc/a": record_.Before(Entry("file", 0o644), record_.backup_name("/etc/a"))},
    directories=("/etc/x",),
    settings={"wiring": "auto", "parallel_pull": {"enable": True}},
    wiring={"address": "/run/s"},
)
SEEDS = [
    json.dumps({"schema": 1, **asdict(_RECORD)}).encode(),
    json.dumps({"schema": 1, **asdict(record_.Record())}).encode(),
    b'{"signatures": {"/etc": [false, 1]}, "settings": [], "document": {}, "text": "", "layers": ["a"]}',
    b'{"snapshotter": "soci", "degraded": ""}',
    b'{"mode": "direct", "dialect": "v2"}',
]


def one(data: bytes) -> None:
    """A record: what is believed can be written and read again."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        wiring.from_json(document)
    system = Files({paths.RECORD: data, "/etc/a": b"x"})
    record = record_.load(system)
    assert record is not None
    text = json.dumps({"schema": 1, **asdict(record)})
    assert record_.load(Files({paths.RECORD: text.encode()})) == record
    for path in (*record.before, *record.managed):
        assert path.startswith("/")
        assert "/../" not in path
    try:
        settings.from_json(record.settings, "install")
    except BootstrapError as error:
        assert error.remedy
    leftovers(system, _without_backups(record), ())
    for path in _without_backups(record).before:
        state_of(system, record, path)


def _without_backups(record: record_.Record) -> record_.Record:
    """Those whose bytes this node without a disk need not look up."""
    before = {path: was for path, was in record.before.items() if was.entry.kind != "file"}
    return record_.replace(record, before=before, wiring={})
