"""Every kind, with and without options, byte for byte.

After a deliberate change: ``UPDATE_GOLDEN=1 pytest tests/unit/test_render_golden.py``, then read the diff.
"""

from __future__ import annotations

import os

import pytest
from render_requests import ARGUMENTS, GOLDEN, NODE_CONFIG, make

from soci_bootstrap.render import render

CASES = {
    "userdata.txt": make("userdata"),
    "userdata-options.txt": make("userdata", ARGUMENTS, node_config=NODE_CONFIG),
    "userdata-static-v2.txt": make("userdata", static_node_config="v2"),
    "userdata-static-v3.txt": make("userdata", static_node_config="v3", snapshotter_root="/data/soci"),
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_bytes_are_the_golden_files(name: str) -> None:
    text = render(CASES[name])
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_rendering_twice_gives_the_same_bytes(name: str) -> None:
    assert render(CASES[name]) == render(CASES[name])
