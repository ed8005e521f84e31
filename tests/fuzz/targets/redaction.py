"""The support bundle: whatever is in a file, what was planted in it does not leave the node."""

from __future__ import annotations

from soci_bootstrap.doctor import redact
from tests.fuzz.targets import text
from tests.support.corpus.inputs import CASES

SEEDS = [
    *(
        found if isinstance(found, bytes) else str(found).encode()
        for case in CASES
        for found in case.files.values()
        if found and len(found) < 1000
    ),
    b'{"a": {"password": "x", "b": ["c"]}}',
    b"https://user:pw@host/?token=x",
    b"-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
]
_SECRET = "hunter2hunter2"


def one(data: bytes) -> None:
    """Every kind of file; then with a secret after it, where any reader would take it for one."""
    for name in ("a.json", "a.toml", "a.conf", "a.txt"):
        redact.file(name, data)
    said = text(data)
    if not said.isascii():
        return
    planted = f"{said}\nhttps://user:{_SECRET}@host.test/\n"
    if "://" not in said:
        assert _SECRET not in redact.text(planted)
