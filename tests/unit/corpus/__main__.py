"""How many cases there are: ``PYTHONPATH=tests/unit python3 -m corpus``."""

from __future__ import annotations

import sys

from corpus import archives, servers

sys.stdout.write(f"hostile archives {len(archives.CASES)}, hostile servers {len(servers.CASES)}\n")
