"""The node that the hooks' tests share."""

from __future__ import annotations

import pytest

from tests.support.hooks import Hook


@pytest.fixture
def hook(tmp_path, monkeypatch):
    made = Hook(tmp_path, monkeypatch)
    with made.stack:
        yield made
