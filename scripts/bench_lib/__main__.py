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
from typing import NoReturn

from scripts.bench_lib import chart, figures, given
from scripts.bench_lib.figures import Figure
from soci_bootstrap.errors import UsageError
from tests.node.lab.soci.build import Release

_REPOSITORY = Path(__file__).parents[2]
_PARTS = {
    "sizes": "sizes",
    "imports": "imports",
    "install": "on_node",
    "boot": "at_boot",
    "memory": "memory",
    "inflate": "inflate",
    "herd": "crowd",
    "pull": "pull",
}
_WITHOUT_ROOT = ("sizes", "herd")
_NO_RELEASE = "needs a real release of SOCI: --release soci-snapshotter-V-linux-ARCH.tar.gz"


def main(arguments: Sequence[str]) -> int:
    """0 where every target is met, 1 where one is not, 2 for bad usage."""
    asked = _parsed(arguments)
    started = time.monotonic()
    found: list[Figure] = []
    left_out = {part: reason for part in asked.parts if (reason := _why_not(part, asked.release))}
    release = _opened(asked.release) if asked.release else None
    for part in asked.parts:
        if part in left_out:
            continue
        _say(f"{part} …")
        module = importlib.import_module(f"scripts.bench_lib.{_PARTS[part]}")
        found += module.run(release) if part == "pull" else module.run()
        _say(f"{part}: {time.monotonic() - started:.0f} s so far")
    about = _about()
    if release:
        about["release"] = given.described(release)
    if set(asked.parts) - set(left_out) - {*_WITHOUT_ROOT, "pull"}:
        about["nodes"] = importlib.import_module("scripts.bench_lib.nodes").versions()
    if asked.as_json:
        print(json.dumps({**about, "left_out": left_out, "figures": [_document(each) for each in found]}))
    else:
        print(figures.table(found))
        print("\n" + "\n".join(f"{name}: {value}" for name, value in about.items()))
        for part, reason in left_out.items():
            print(f"left out: {part}, which {reason}")
    if asked.svg:
        Path(asked.svg).write_text(chart.draw(found, f"{about['machine']}, {about['soci-bootstrap']}"))
    return int(any(each.met is False for each in found))


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The command line; a file that was not named is empty."""

    parts: list[str]
    as_json: bool
    svg: str
    release: str


def _parsed(arguments: Sequence[str]) -> _Asked:
    words = list(arguments)
    svg, release = _taken(words, "--svg"), _taken(words, "--release")
    as_json = "--json" in words
    parts = [word for word in words if word != "--json"]
    unknown = [word for word in parts if word not in _PARTS]
    if unknown:
        _usage(f"unknown: {' '.join(unknown)}")
    return _Asked(parts or list(_PARTS), as_json, svg, release)


def _taken(words: list[str], option: str) -> str:
    """The file after an option, both taken out of the words; empty without the option."""
    if option not in words:
        return ""
    place = words.index(option)
    file = words[place + 1] if place + 1 < len(words) else ""
    if not file or file.startswith("--"):
        _usage(f"{option} takes a file")
    del words[place : place + 2]
    return file


def _why_not(part: str, release: str) -> str:
    """Why a part can't be measured, and how it could; empty where it can."""
    if os.geteuid() and part not in _WITHOUT_ROOT:
        return "needs root"
    return _NO_RELEASE if part == "pull" and not release else ""


def _opened(path: str) -> Release:
    """The release that was given, looked at before anything is measured."""
    try:
        return given.opened(path)
    except UsageError as error:
        _usage(str(error))


def _usage(problem: str) -> NoReturn:
    options = "[--json] [--svg FILE] [--release FILE]"
    sys.stderr.write(f"bench: {problem}; expected [{'|'.join(_PARTS)}]... {options}\n")
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
