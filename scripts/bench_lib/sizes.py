"""What userData and nodes have to carry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.bench_lib.figures import Figure, figure

_DIST = Path(__file__).parents[2] / "dist"
_URL = "https://artifacts.example.com/soci-bootstrap.pyz"


def run() -> list[Figure]:
    """The zipapp, the stub, and the smallest userData that has both a stub and a NodeConfig."""
    zipapp = _DIST / "soci-bootstrap.pyz"
    argv = [sys.executable, "-I", str(zipapp), "render", "userdata", "--zipapp-url", _URL]
    userdata = subprocess.run(argv, capture_output=True, check=True).stdout
    return [
        figure("sizes", "zipapp", "MiB", [zipapp.stat().st_size / (1 << 20)], 1.5),
        figure("sizes", "stub", "KiB", [(_DIST / "bootstrap.sh").stat().st_size / 1024], 3.0),
        figure("sizes", "rendered MIME userData", "KiB", [len(userdata) / 1024], 6.0),
    ]
