"""What holds for every test, of units and of nodes."""

from __future__ import annotations

import signal

# A shell has what it runs in the background ignore SIGINT, and what tests start would go on with that.
signal.signal(signal.SIGINT, signal.default_int_handler)
