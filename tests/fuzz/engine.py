"""One target in atheris, in a process of its own: libFuzzer ends it, so counts go to a shared file.

python -m tests.fuzz.engine TARGET COUNTS [libFuzzer's own arguments]
"""

from __future__ import annotations

import mmap
import struct
import sys

import atheris

COUNTS = struct.Struct("<4q")
"""Inputs tried, refused, bugs, nodes changed."""


def main(name: str, counts_path: str, arguments: list[str]) -> None:
    """Fuzz until libFuzzer's limits or the first bug."""
    with atheris.instrument_imports(include=["soci_bootstrap"], enable_loader_override=False):
        from soci_bootstrap.errors import BootstrapError
        from tests.fuzz import targets

        one = targets.target(name).one
    with open(counts_path, "r+b") as file:
        counts = mmap.mmap(file.fileno(), COUNTS.size)
    tried = refused = 0

    def count(data: bytes) -> None:
        nonlocal tried, refused
        tried += 1
        bugs = changed = 0
        try:
            one(data)
        except BootstrapError:
            refused += 1
        except targets.ChangedError:
            changed = 1
            raise
        except BaseException:
            bugs = 1
            raise
        finally:
            COUNTS.pack_into(counts, 0, tried, refused, bugs, changed)

    atheris.Setup([name, *arguments], count)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
