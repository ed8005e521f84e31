"""Build hook of the wheel: setuptools' build_py, with unit files and stub in data/."""

from __future__ import annotations

import os
import shutil

from setuptools.command import build_py

HOOK = "scripts/wheel.py"
STUB = "scripts/bootstrap.sh"
UNITS = "systemd"


class BuildPy(build_py.build_py):
    """Copies into what is built, never into the checkout; the source distribution has the originals."""

    def run(self) -> None:
        """Build, then copy; an editable install reads the originals."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        data = os.path.join(self.build_lib, "soci_bootstrap", "data")
        shutil.copytree(UNITS, os.path.join(data, UNITS), dirs_exist_ok=True)
        shutil.copyfile(STUB, os.path.join(data, os.path.basename(STUB)))

    def get_source_files(self) -> list[str]:
        """Name what the source distribution has to have for this."""
        units = [os.path.join(parent, name) for parent, _, names in os.walk(UNITS) for name in names]
        return [*super().get_source_files(), HOOK, STUB, *units]
