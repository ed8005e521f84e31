"""Run as the zipapp, or with ``python3 -m soci_bootstrap``."""

from soci_bootstrap.cli import entry

entry()
