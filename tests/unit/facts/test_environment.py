from __future__ import annotations

import pytest

from soci_bootstrap.facts import environment
from soci_bootstrap.facts.units import read_unit
from soci_bootstrap.system import System
from tests.support.nodes import write

UNIT = "/usr/lib/systemd/system/containerd.service"
DROPIN = "/etc/systemd/system/containerd.service.d/environment.conf"
MANAGER = "/etc/systemd/system.conf.d/environment.conf"
PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("files", "variables"),
    [
        ({}, {}),
        ({UNIT: "[Service]\nExecStart=/usr/bin/containerd\n"}, {}),
        # What nodeadm writes for instance.environment, escapes included.
        (
            {
                MANAGER: '[Manager]\nDefaultEnvironment="BACKSLASH_VAR=value with \\\\backslash"\n'
                'DefaultEnvironment="QUOTED_VAR=value with \\"quotes\\" inside"\n'
                'DefaultEnvironment="SIMPLE_VAR=simple value"\n'
            },
            {
                "BACKSLASH_VAR": "value with \\backslash",
                "QUOTED_VAR": 'value with "quotes" inside',
                "SIMPLE_VAR": "simple value",
            },
        ),
        (
            {
                UNIT: "[Service]\n",
                DROPIN: '[Service]\nEnvironment="HTTPS_PROXY=http://u:p%%40q@proxy.test:3128"\n',
            },
            {"HTTPS_PROXY": "http://u:p%40q@proxy.test:3128"},
        ),
        # The unit's own go over the manager's, files over both, later ones over earlier ones.
        (
            {MANAGER: "[Manager]\nDefaultEnvironment=A=1 B=1\n", UNIT: "[Service]\nEnvironment=B=2\n"},
            {"A": "1", "B": "2"},
        ),
        (
            {UNIT: "[Service]\nEnvironmentFile=/etc/e\nEnvironment=A=1 B=1\n", "/etc/e": "A=2\n"},
            {"A": "2", "B": "1"},
        ),
        ({UNIT: "[Service]\nEnvironment=A=1\nEnvironment=A=2 'B=3 4'\n"}, {"A": "2", "B": "3 4"}),
        # An empty assignment takes back what came before it.
        (
            {UNIT: "[Service]\nEnvironment=A=1\n", DROPIN: "[Service]\nEnvironment=\nEnvironment=B=1\n"},
            {"B": "1"},
        ),
        # Not an assignment, an open quote, another section, a missing file: nothing.
        ({UNIT: "[Service]\nEnvironment=A\n"}, {}),
        ({UNIT: '[Service]\nEnvironment="A=1\n'}, {}),
        ({UNIT: "[Unit]\nEnvironment=A=1\n"}, {}),
        ({UNIT: "[Service]\nEnvironmentFile=-/etc/none\nEnvironmentFile=/etc/none\n"}, {}),
        (
            {
                UNIT: "[Service]\nEnvironmentFile=-/etc/e\n",
                "/etc/e": "# note\n; note\n\nA = 1 2 \nB='x y'\nC=\"u\nD=1\\\n2\nE=\n",
            },
            {"A": "1 2", "B": "x y", "D": "12", "E": ""},
        ),
        # Drop-ins of systemd itself: by name, the first directory's winning.
        (
            {
                "/etc/systemd/system.conf": "[Manager]\nDefaultEnvironment=A=main\n",
                "/usr/lib/systemd/system.conf.d/10-a.conf": "[Manager]\nDefaultEnvironment=A=lib B=lib\n",
                "/etc/systemd/system.conf.d/10-a.conf": "[Manager]\nDefaultEnvironment=A=etc\n",
            },
            {"A": "etc"},
        ),
    ],
)
def test_service(tmp_path, files, variables) -> None:
    system = System(str(write(tmp_path, files)))
    assert environment.of_service(system, read_unit(system, "containerd.service")) == variables


@pytest.mark.parametrize(
    ("variables", "environ", "merged"),
    [
        ({"HTTPS_PROXY": PROXY}, {}, {"HTTPS_PROXY": PROXY}),
        ({"HTTPS_PROXY": PROXY}, {"HTTPS_PROXY": ""}, {"HTTPS_PROXY": ""}),
        ({"https_proxy": PROXY, "A": "1"}, {"HTTPS_PROXY": "x"}, {"HTTPS_PROXY": "x", "A": "1"}),
    ],
)
def test_the_process_goes_first(variables, environ, merged) -> None:
    assert environment.under(variables, environ) == merged
