"""One file for each command: run it, and say what came of it."""
