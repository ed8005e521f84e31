"""Modules of the zipapp that a thread was the first to import, which Python 3.9's zipimport does not bear."""

from __future__ import annotations

import json
import subprocess
import sys

_WATCHED = """
import json, sys, threading

IN_THE_ZIPAPP = "soci_bootstrap requests urllib3 idna certifi charset_normalizer tomli tomli_w".split()
found = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread() and name.split(".")[0] in IN_THE_ZIPAPP:
            found.append(name)

sys.meta_path.insert(0, Watch())
begun = []
start = threading.Thread.start
threading.Thread.start = lambda thread: (begun.append(thread), start(thread))[1]
%s
assert begun, "this starts no thread"
for thread in begun:
    thread.join()
print(json.dumps(found))
"""


def in_threads(script: str, *arguments: str) -> list[str]:
    """Run a script in a process of its own; what its threads imported first."""
    argv = [sys.executable, "-c", _WATCHED % script, *arguments]
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found
