"""Keeps requests off a node's own chardet: it would cost 8 ms of imports and is never asked for anything."""

from __future__ import annotations

raise ImportError("soci-bootstrap carries no chardet")
