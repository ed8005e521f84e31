"""One run: decide, change files phase by phase, prove, record; undo and fail open."""
