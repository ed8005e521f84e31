"""Unit files, what they name, and environment files."""

from __future__ import annotations

from soci_bootstrap.facts import containerd, environment
from soci_bootstrap.facts.units import read_manager, read_unit
from soci_bootstrap.paths import is_plain
from tests.fuzz.files import Files
from tests.fuzz.targets import text

SEEDS = [
    (
        b"[Unit]\nAfter=x\n[Service]\nExecStart=/usr/bin/containerd --config=/etc/c.toml\n"
        b"Environment=A=b 'C=d e'\n"
    ),
    (
        b"[Service]\nExecStart=\\\n  /usr/bin/containerd \\\n -c /a\n# x \\\n;y\n"
        b"Environment=\nEnvironmentFile=-/x\n"
    ),
    b'[Manager]\nDefaultEnvironment="A=%%b" HTTPS_PROXY=http://user:pw@p\n[Socket]\nListenStream=/run/x\n',
    b"HTTP_PROXY='http://x'\nB=\"c\\\nd\"\n#e\nf\n=g\n",
]
_UNIT = "/usr/lib/systemd/system/containerd.service"


def one(data: bytes) -> None:
    """One text as a unit, as systemd's configuration and as an environment file."""
    system = Files(
        {
            _UNIT: data,
            "/etc/systemd/system/containerd.service.d/10-x.conf": data,
            "/etc/systemd/system.conf": data,
            "/etc/x.env": data,
            "/usr/lib/systemd/system/e.service": b"[Service]\nEnvironmentFile=-/etc/x.env\n",
        }
    )
    unit = read_unit(system, "containerd.service")
    for directive in (*unit.directives, *read_manager(system).directives):
        assert "\n" not in directive.value
    variables = environment.of_service(system, unit)
    variables.update(environment.of_service(system, read_unit(system, "e.service")))
    # A line feed within a value takes quotes.
    assert set(text(data)) & set("\"'") or not any("\n" in value for value in variables.values())
    found = containerd.observe(Files({_UNIT: data}), unit)
    assert found.config_path.startswith("/")
    path = text(data).strip()
    if is_plain(path):
        # What may go into a unit file is one word there, and itself.
        assert path == path.split()[0]
        assert not set(path) & set("%$\"'\\;#\n")
