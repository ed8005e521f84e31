"""Print what scripts/lock/dev.txt pins for the unit tests on a Python, such as 3.9: locked.py VERSION.

Without markers: pip can install for another Python, but judges these by the one that it runs on. Nor with
the tools, which are what has a marker in dev.in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parent / "lock"


def main(version: str) -> None:
    python = {"python_version": version, "python_full_version": f"{version}.0"}
    asked = (line for line in (LOCK / "dev.in").read_text().splitlines() if not line.startswith("#"))
    tools = {canonicalize_name(Requirement(line).name) for line in asked if ";" in line}
    for line in (LOCK / "dev.txt").read_text().replace("\\\n", "").splitlines():
        pinned, hashes = line.split(" --hash", 1)
        requirement = Requirement(pinned)
        if requirement.name in tools or (requirement.marker and not requirement.marker.evaluate(python)):
            continue
        requirement.marker = None
        print(f"{requirement} --hash{hashes}")


if __name__ == "__main__":
    main(sys.argv[1])
