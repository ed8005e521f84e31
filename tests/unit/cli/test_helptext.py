from __future__ import annotations

import re
import subprocess

import pytest

from soci_bootstrap import cli
from soci_bootstrap.cli import completion, helptext
from soci_bootstrap.configfiles.soci_rules import SETTABLE
from soci_bootstrap.settings import commandline
from soci_bootstrap.settings.commands import COMMAND_NAMES, COMMANDS
from soci_bootstrap.settings.options import OPTIONS, options_of
from soci_bootstrap.system import resources


@pytest.mark.parametrize("line", ["--help", "-h", "help", "help nonsense", "--help --nonsense"])
def test_overview_names_every_command(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split(), {"SOCI_BOOTSTRAP_NONSENSE": "1"}) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^  {command.name} ", out, re.MULTILINE)


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_each_command_has_help_with_its_options_and_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for line in (f"{name} --help", f"-h {name}", f"help {name}", f"{name} --nonsense --help"):
        assert cli.main(line.split(), {}) == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 1
    assert f"usage: soci-bootstrap {name}" in texts[0]
    for option in OPTIONS:
        assert (f"{option.flag} {option.metavar}".strip() in texts[0].split("examples:")[0]) is (
            option in options_of(name)
        )
    assert f"  soci-bootstrap {name}" in texts[0].split("examples:")[1]
    assert max(len(row) for row in texts[0].splitlines()) <= 110


@pytest.mark.parametrize(
    "example", [example for examples in helptext.EXAMPLES.values() for example, _ in examples]
)
def test_examples_are_good_usage(example: str) -> None:
    words = re.split(r" [|>] ", example)[0].split()
    assert commandline.parse(words).problems == []


def test_the_manual_holds_every_command_and_option() -> None:
    page = helptext.page("0.1.0")
    assert page.startswith('.TH SOCI\\-BOOTSTRAP 1 "" "soci\\-bootstrap 0.1.0"')
    for option in OPTIONS:
        assert option.flag.replace("-", "\\-") in page
    for command in COMMANDS:
        assert f".TP\n\\fB{command.name}\\fR" in page
    assert not [row for row in page.splitlines() if row.startswith("'")]


def test_the_manual_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["man"], {}) == 0
    assert capsys.readouterr().out == helptext.page(resources.version())


def complete(*words: str) -> list[str]:
    """What bash offers after these words, the last of them unfinished."""
    return completed(*words).split()


def completed(*words: str) -> str:
    """The same, a line each."""
    script = completion.script("bash")
    quoted = " ".join(f"'{word}'" for word in ("soci-bootstrap", *words))
    program = f"""{script}
compopt() {{ :; }}
COMP_WORDS=({quoted}) COMP_CWORD={len(words)}
_soci_bootstrap
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=True, timeout=10
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.subprocess
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("",), [*COMMAND_NAMES, "--help", "--version"]),
        (("do",), ["doctor"]),
        (("install", "--str"), ["--strict"]),
        (("install", "--wiring", ""), ["auto", "nodeadm", "direct", "none"]),
        (("--json", "install", "--wiring", "d"), ["direct"]),
        (
            ("install", "--set", "max_concurrent_unpacks"),
            ["max_concurrent_unpacks=", "max_concurrent_unpacks_per_image="],
        ),
        (("render", "e"), ["ec2nodeclass"]),
        (("completion", ""), ["bash", "zsh", "--help"]),
        (("doctor", "--bundle", "/et"), ["/etc"]),
        (("install", "--root", "/et"), ["/etc"]),
        (("install", "--deadline", ""), []),
        # As readline hands over --wiring= and --wiring=d.
        (("install", "--wiring", "="), ["auto", "nodeadm", "direct", "none"]),
        (("install", "--wiring", "=", "d"), ["direct"]),
        (("install", "--root", "=", "/et"), ["/etc"]),
        (("mirror", "/et"), ["/etc"]),
        (("mirror", "--so"), ["--soci-version"]),
    ],
)
def test_bash_completes(words: tuple[str, ...], offered: list[str]) -> None:
    assert complete(*words) == offered


@pytest.mark.subprocess
def test_bash_completes_names_with_spaces(tmp_path) -> None:
    (tmp_path / "my report").touch()
    assert completed("doctor", "--bundle", f"{tmp_path}/my") == f"{tmp_path}/my report\n"


def test_zsh_knows_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "zsh"], {}) == 0
    script = capsys.readouterr().out
    assert script.startswith("#compdef soci-bootstrap")
    for command in COMMANDS:
        row = next(row for row in script.splitlines() if row.startswith(f"        {command.name}) "))
        flags = set(re.findall(r"--[a-z0-9-]+(?==?\[)", row))
        assert flags == {option.flag for option in options_of(command.name)} | {"--help"}
    assert all(f"{key}=" in script for key in SETTABLE)
