"""The environment that systemd gives a service, read from its files: what SOCI gets of containerd's.

Sources: systemd.exec(5) (Environment=, EnvironmentFile=), systemd-system.conf(5)
(DefaultEnvironment=); nodeadm writes `instance.environment` as the latter and as drop-ins.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from soci_bootstrap.facts.units import UnitFile, read_manager
from soci_bootstrap.system import System


def of_service(system: System, unit: UnitFile) -> dict[str, str]:
    """A service's variables by name: the manager's defaults, then the unit's own, then its files'."""
    variables = _assignments(read_manager(system).values("DefaultEnvironment", "Manager"))
    variables.update(_assignments(unit.values("Environment")))
    for file in unit.values("EnvironmentFile"):
        text = (system.read(file.lstrip("-")) or b"").decode("utf-8", "replace")
        variables.update(_file_assignments(text))
    return variables


def under(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` over ``variables``: a proxy set in one case hides the same one in the other."""
    given = {name.lower() for name in environ}
    return {**{name: value for name, value in variables.items() if name.lower() not in given}, **environ}


def _assignments(lines: Iterable[str]) -> dict[str, str]:
    """``NAME=value`` words, quoted and escaped as in a unit file."""
    found: dict[str, str] = {}
    for line in lines:
        try:
            words = shlex.split(line)
        except ValueError:
            # An open quote: systemd ignores such a line too.
            continue
        for word in words:
            name, equals, value = word.replace("%%", "%").partition("=")
            if equals:
                found[name] = value
    return found


def _file_assignments(text: str) -> dict[str, str]:
    """An environment file's lines: comments, and values that may be quoted."""
    found: dict[str, str] = {}
    for line in text.replace("\\\n", "").splitlines():
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith(("#", ";")):
            continue
        value = value.strip()
        if value[:1] in {"'", '"'}:
            try:
                value = "".join(shlex.split(value))
            except ValueError:
                continue
        found[name.strip()] = value
    return found
