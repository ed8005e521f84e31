"""Fuzz the parsers; see scripts/fuzz.

What is found stays in the cache, beside the grown corpora: put the input into tests/fuzz/found/TARGET/
once it is fixed, where the unit tests try it for ever after.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import targets

_COUNTS = 32
_SLOWEST = 20
"""Seconds for one input: a hang."""
_ROOT = Path(__file__).parents[2]
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "soci-bootstrap" / "fuzz"


@dataclass(frozen=True)
class Report:
    """What came of one target."""

    name: str
    tried: int
    refused: int
    crashes: int
    changed: int
    seconds: float
    problem: str = ""


def main(argv: Sequence[str]) -> int:
    """Fuzz each target in turn; 1 where anything was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Fuzz soci-bootstrap's parsers.")
    parser.add_argument("target", nargs="*", help=f"of {', '.join(targets.NAMES)}; all by default")
    parser.add_argument("--runs", type=int, default=1_000_000, help="inputs in all (1000000)")
    parser.add_argument("--seconds", type=float, help="time in all instead")
    parser.add_argument("--seed", type=int, default=0, help="libFuzzer's; 0 for another each time")
    asked = parser.parse_args(argv)
    names = asked.target or list(targets.NAMES)
    unknown = sorted(set(names) - set(targets.NAMES))
    if unknown:
        parser.error(f"no target {', '.join(unknown)}: expected some of {', '.join(targets.NAMES)}")
    limit = (
        ["-runs=-1", f"-max_total_time={max(1, round(asked.seconds / len(names)))}"] if asked.seconds else []
    )
    limit = limit or [f"-runs={-(-asked.runs // len(names))}"]
    print(f"{'target':<12} {'tried':>9} {'refused':>9} {'crashes':>7} {'changed':>7} {'seconds':>7}")
    reports = []
    for name in names:
        report = fuzz(name, [*limit, f"-seed={asked.seed}"])
        reports.append(report)
        print(
            f"{name:<12} {report.tried:>9} {report.refused:>9} {report.crashes:>7} {report.changed:>7}"
            f" {report.seconds:>7.0f}",
            flush=True,
        )
        if report.problem:
            print(report.problem, file=sys.stderr)
    tried, crashes, changed = (
        sum(getattr(r, key) for r in reports) for key in ("tried", "crashes", "changed")
    )
    print(f"inputs tried {tried}, crashes {crashes}, nodes changed {changed}")
    return 1 if crashes or changed else 0


def fuzz(name: str, arguments: Sequence[str]) -> Report:
    """One target in a process of its own."""
    corpus, found = _CACHE / "corpus" / name, _CACHE / "found" / name
    for directory in (corpus, found):
        directory.mkdir(parents=True, exist_ok=True)
    shm = "/dev/shm"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as scratch:
        seeds = _seeds(name, Path(scratch) / "seeds")
        counts = Path(scratch) / "counts"
        counts.write_bytes(bytes(_COUNTS))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.engine", name, str(counts)),
                *arguments,
                f"-artifact_prefix={found}/",
                f"-timeout={_SLOWEST}",
                "-rss_limit_mb=2048",
                "-max_len=4096",
                "-print_final_stats=0",
                "-verbosity=0",
                str(corpus),
                str(seeds),
            ],
            cwd=_ROOT,
            env={**os.environ, "TMPDIR": scratch, "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        numbers = counts.read_bytes()
    tried, refused, _, changed = (
        int.from_bytes(numbers[at : at + 8], "little") for at in range(0, _COUNTS, 8)
    )
    failed = done.returncode != 0
    problem = _told(done.stdout + done.stderr) if failed else ""
    return Report(
        name, tried, refused, int(failed and not changed), changed, time.monotonic() - started, problem
    )


def _told(output: bytes) -> str:
    """The traceback and the input, without what atheris says of itself."""
    lines = output.decode("utf-8", "replace").splitlines()
    return "\n".join(line[:500] for line in lines if not line.startswith(("INFO:", "WARNING:")))[-6000:]


def _seeds(name: str, directory: Path) -> Path:
    directory.mkdir()
    kept = sorted((Path(__file__).parent / "found" / name).glob("*"))
    for seed in (*targets.target(name).SEEDS, *(path.read_bytes() for path in kept)):
        (directory / hashlib.sha256(seed).hexdigest()[:20]).write_bytes(seed)
    return directory


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
