"""argv to a command, its operand and option texts; never raises, so that every problem is told at once.

Not argparse: it stops at the first problem, knows neither environment nor file, and its import is a
tenth of what `install` takes on a node where nothing has to be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from soci_bootstrap.configfiles.soci_rules import SETTABLE
from soci_bootstrap.settings.commands import COMMAND_NAMES, KINDS, command
from soci_bootstrap.settings.options import OPTIONS, Option, options_of
from soci_bootstrap.suggest import closest, hint, hint_or_all

_BY_FLAG = {option.flag: option for option in OPTIONS}
_BY_FLAG.update({f"-{option.short}": option for option in OPTIONS if option.short})
_HELP = ("-h", "--help")


@dataclass
class CommandLine:
    """The command line, parsed.

    Attributes:
        command: empty where none, or an unknown one, was given.
        operand: the command's operand, None where it has none.
        given: options with their texts (``True`` for a switch), in order.
        problems: everything wrong, each naming the word it is about.
        help: ``-h`` or ``--help`` was seen.
        version: ``--version`` was seen.
    """

    command: str = ""
    operand: str | None = None
    given: list[tuple[Option, object]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    help: bool = False
    version: bool = False

    @property
    def json(self) -> bool:
        """Tell if ``--json`` was seen, however wrong the rest is."""
        return any(option.name == "json" for option, _ in self.given)


def parse(argv: Sequence[str]) -> CommandLine:
    """Read argv (without the program's name)."""
    line = CommandLine()
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word in _HELP:
            line.help = True
        elif word == "--version":
            line.version = True
        elif word.startswith("-") and word != "-":
            _option(line, word, rest)
        else:
            words.append(word)
    _operands(line, words)
    if line.command:
        _belongs(line)
    return line


def _option(line: CommandLine, word: str, rest: list[str]) -> None:
    flag, equals, text = word.partition("=")
    option = _BY_FLAG.get(flag)
    if option is None:
        key = flag[2:].replace("-", "_")
        if key in SETTABLE:
            line.problems.append(f"unknown option {flag}; did you mean --set {key}=VALUE?")
            flag = "--set"
        else:
            line.problems.append(f"unknown option {flag}{hint(flag, (*_BY_FLAG, '--help', '--version'))}")
        meant = _BY_FLAG.get(closest(flag, tuple(_BY_FLAG)))
        if meant and meant.metavar and not equals and rest and not rest[0].startswith("-"):
            rest.pop(0)  # the value that was meant for it, not a word of its own
    elif not option.metavar:
        if equals:
            line.problems.append(f"{flag} takes no value: found {text!r}")
        line.given.append((option, True))
    elif equals:
        line.given.append((option, text))
    elif rest and not rest[0].startswith("--") and rest[0].partition("=")[0] not in (*_BY_FLAG, *_HELP):
        line.given.append((option, rest.pop(0)))
    else:
        line.problems.append(f"{flag} needs a value: {flag} {option.metavar}")


def _operands(line: CommandLine, words: list[str]) -> None:
    if not words:
        if not (line.help or line.version):
            line.problems.insert(0, f"no command given; known: {', '.join(COMMAND_NAMES)}")
        return
    name = words.pop(0)
    if name == "help":
        line.help = True
        line.command = words[0] if words and command(words[0]) else ""
        return
    known = command(name)
    if known is None:
        line.problems.insert(0, f"unknown command {name!r}{hint_or_all(name, COMMAND_NAMES)}")
        return
    line.command = name
    if known.operand and words:
        line.operand = words.pop(0)
        if known.choices and line.operand not in known.choices:
            line.problems.append(
                f"{name}: unknown {known.operand} {line.operand!r}{hint_or_all(line.operand, known.choices)}"
            )
    elif known.operand:
        choices = f": one of {', '.join(known.choices)}" if known.choices else ""
        line.problems.append(f"{name} needs {known.operand}{choices}")
    line.problems += [f"{name}: unexpected word {word!r}" for word in words]


def _belongs(line: CommandLine) -> None:
    """Refuse an option that the command or the document has no place for."""
    taken = options_of(line.command)
    for option, _ in line.given:
        if option not in taken:
            line.problems.append(
                f"{option.flag} is not an option of {line.command}; it is for {', '.join(option.commands)}"
            )
        elif option.kinds and line.operand in KINDS and line.operand not in option.kinds:
            line.problems.append(
                f"{option.flag} has no place in a {line.operand} document; "
                f"it is for {', '.join(option.kinds)}"
            )
