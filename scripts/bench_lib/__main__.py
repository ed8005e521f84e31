"""``scripts/bench``: see there."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from scripts.bench_lib import chart, figures
from scripts.bench_lib.figures import Figure

_REPOSITORY = Path(__file__).parents[2]
_PARTS = {
    "sizes": "sizes",
    "imports": "imports",
    "install": "on_node",
    "boot": "at_boot",
    "memory": "memory",
    "inflate": "inflate",
    "herd": "crowd",
}
_WITHOUT_ROOT = ("sizes", "herd")


def main(arguments: Sequence[str]) -> int:
    """0 where every target is met, 1 where one is not, 2 for bad usage."""
    wanted, as_json, svg = _parsed(arguments)
    started = time.monotonic()
    found: list[Figure] = []
    left_out = []
    for part in wanted:
        if os.geteuid() and part not in _WITHOUT_ROOT:
            left_out.append(part)
            continue
        _say(f"{part} …")
        found += importlib.import_module(f"scripts.bench_lib.{_PARTS[part]}").run()
        _say(f"{part}: {time.monotonic() - started:.0f} s so far")
    about = _about()
    if set(wanted) - set(left_out) - set(_WITHOUT_ROOT):
        about["nodes"] = importlib.import_module("scripts.bench_lib.nodes").versions()
    if as_json:
        print(json.dumps({**about, "left_out": left_out, "figures": [_document(each) for each in found]}))
    else:
        print(figures.table(found))
        print("\n" + "\n".join(f"{name}: {value}" for name, value in about.items()))
        if left_out:
            print(f"left out, since they need root: {', '.join(left_out)}")
    if svg:
        Path(svg).write_text(chart.draw(found, f"{about['machine']}, {about['soci-bootstrap']}"))
    return int(any(each.met is False for each in found))


def _parsed(arguments: Sequence[str]) -> tuple[list[str], bool, str]:
    words = list(arguments)
    svg = ""
    if "--svg" in words:
        place = words.index("--svg")
        svg = words[place + 1] if place + 1 < len(words) else ""
        if not svg:
            _usage("--svg takes a file")
        del words[place : place + 2]
    as_json = "--json" in words
    parts = [word for word in words if word != "--json"]
    unknown = [word for word in parts if word not in _PARTS]
    if unknown:
        _usage(f"unknown: {' '.join(unknown)}")
    return parts or list(_PARTS), as_json, svg


def _usage(problem: str) -> None:
    sys.stderr.write(f"bench: {problem}; expected [{'|'.join(_PARTS)}]... [--json] [--svg FILE]\n")
    sys.exit(2)


def _document(each: Figure) -> dict[str, object]:
    return {**dataclasses.asdict(each), "met": each.met}


def _about() -> dict[str, str]:
    commit = subprocess.run(
        ["git", "-c", "safe.directory=*", "describe", "--always", "--dirty"],
        cwd=_REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = cpu[0].partition(":")[2].strip() if cpu else platform.machine()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)
    kernel = platform.release().partition("-")[0]
    return {
        "machine": f"{os.cpu_count()} x {name}, {memory:.0f} GiB, Linux {kernel}",
        "soci-bootstrap": commit.stdout.strip() or "unknown",
        "load": f"{os.getloadavg()[0]:.1f} at the end",
    }


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")


sys.exit(main(sys.argv[1:]))
