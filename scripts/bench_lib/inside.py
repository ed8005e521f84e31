"""Runs on the node, on its own Python: times commands in turns. Standard library only, 3.9.

stdin: ``{"rounds": N, "cases": [{"name", "argv", "before", "statuses"}]}``. ``before`` is a shell script that
is not timed. stdout: one object a round, by the case's name ``[seconds, CPU seconds, peak RSS in KiB]``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time


def run(case: dict) -> list:  # type: ignore[type-arg]
    if case["before"]:
        subprocess.run(["sh", "-euc", case["before"]], stdin=subprocess.DEVNULL, stdout=2, check=True)
    with tempfile.TemporaryFile() as errors, open(os.devnull, "r+b") as null:
        moves = [(os.POSIX_SPAWN_DUP2, null.fileno(), 0), (os.POSIX_SPAWN_DUP2, null.fileno(), 1)]
        moves.append((os.POSIX_SPAWN_DUP2, errors.fileno(), 2))
        started = time.perf_counter()
        pid = os.posix_spawnp(case["argv"][0], case["argv"], os.environ, file_actions=moves)
        _, status, used = os.wait4(pid, 0)
        seconds = time.perf_counter() - started
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        if code not in case["statuses"]:
            errors.seek(0)
            words = errors.read().decode("utf-8", "replace")[-2000:]
            sys.exit(f"{case['name']} ended with status {code}: {words}")
    return [seconds, used.ru_utime + used.ru_stime, used.ru_maxrss]


def main() -> None:
    asked = json.load(sys.stdin)
    cases = asked["cases"]
    rounds = []
    for number in range(asked["rounds"]):
        turn = number % len(cases)  # nobody always comes first
        rounds.append({case["name"]: run(case) for case in cases[turn:] + cases[:turn]})
    json.dump(rounds, sys.stdout)


main()
