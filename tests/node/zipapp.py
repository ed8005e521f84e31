"""The built zipapp, as it is or with patches: source appended to some of its modules."""

from __future__ import annotations

import functools
import importlib
import io
import zipfile
from pathlib import Path

ZIPAPP = Path(__file__).parents[2] / "dist" / "soci-bootstrap.pyz"


@functools.cache
def zipapp(patches: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The built zipapp as it was when first asked for, with source appended to some modules."""
    if not patches:
        if not ZIPAPP.exists():
            raise AssertionError(f"{ZIPAPP} is not there: run scripts/build")
        return ZIPAPP.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(zipapp())) as old:
        files = {name: old.read(name) for name in old.namelist()}
    for module, source in patches:
        name = f"soci_bootstrap/{module.replace('.', '/')}.py"
        if name not in files:
            name = f"{name[:-3]}/__init__.py"
        files[name] += f"\n\n{source}\n".encode()
        files.pop(f"{name}c", None)  # the source is then taken
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in files.items():
            new.writestr(name, data)
    return b"#!/usr/bin/python3 -I\n" + packed.getvalue()


def without(what: str) -> tuple[str, str]:
    """A patch that leaves a function out."""
    module, _, name = what.rpartition(".")
    if not hasattr(importlib.import_module(f"soci_bootstrap.{module}"), name):
        raise AssertionError(f"the product has no {what} any more, so that a row without it proves nothing")
    return module, f"{name} = lambda *arguments: None"
