"""The manual page in roff, from the same table as ``--help``."""

from __future__ import annotations

from collections.abc import Iterator

from soci_bootstrap import paths
from soci_bootstrap.helptext import EXAMPLES, EXIT_STATUSES, SUMMARY, spelling
from soci_bootstrap.settings.options import COMMANDS, ENVIRONMENT_PREFIX, OPTIONS

_FILES = (
    (paths.SETTINGS, "settings, in TOML, with the names of the options; [set] is a table"),
    (paths.SOCI_CONFIG, "what SOCI reads; written by install and at each boot"),
    (paths.NODEADM_DROPIN, "the drop-in that points containerd and kubelet at SOCI"),
    (paths.AGENT, "this program, for the hooks and the boot-time unit"),
    ("/var/lib/soci-bootstrap/", "the record of what was changed, and backups of what stood there"),
)


def page(version: str) -> str:
    """soci-bootstrap(1)."""
    return "\n".join(_lines(version)) + "\n"


def _lines(version: str) -> Iterator[str]:
    yield f'.TH SOCI\\-BOOTSTRAP 1 "" "soci\\-bootstrap {_roff(version)}" "System Administration"'
    yield from (".SH NAME", f"soci\\-bootstrap \\- {_roff(SUMMARY)}")
    yield from (".SH SYNOPSIS", ".B soci\\-bootstrap", "\\fICOMMAND\\fR [\\fIOPTIONS\\fR]")
    yield ".SH COMMANDS"
    for command in COMMANDS:
        yield from (".TP", f"\\fB{command.name}\\fR \\fI{command.operand}\\fR".replace(" \\fI\\fR", ""))
        yield _roff(f"{command.summary}{': ' + ', '.join(command.choices) if command.choices else ''}")
    yield ".SH OPTIONS"
    for option in OPTIONS:
        yield from (".TP", f"\\fB{_roff(spelling(option))}\\fR")
        yield _roff(f"{option.help}. For {', '.join(option.commands)}.")
    yield from (".TP", "\\fB\\-h, \\-\\-help\\fR", "help, with examples, for each command", ".TP")
    yield from ("\\fB\\-\\-version\\fR", "the version and the commit")
    yield from (".SH ENVIRONMENT", ".TP", f"\\fB{ENVIRONMENT_PREFIX}*\\fR")
    yield _roff(
        "Each option, in upper case with underscores. Flags win over these, and these over the file. "
        f"{ENVIRONMENT_PREFIX}SET is a comma-separated list of KEY=VALUE."
    )
    yield from (".TP", "\\fBNO_COLOR\\fR", "any value: no colours")
    yield ".SH FILES"
    for path, what in _FILES:
        yield from (".TP", f"\\fI{_roff(path)}\\fR", _roff(what))
    yield ".SH EXIT STATUS"
    for name, statuses in EXIT_STATUSES.items():
        for status, meaning in statuses:
            of = f" ({name})" if name else ""
            yield from (".TP", f"\\fB{status}\\fR{of}", _roff(meaning))
    yield ".SH EXAMPLES"
    for examples in EXAMPLES.values():
        for example, why in examples:
            yield from (".TP", f"\\fBsoci\\-bootstrap {_roff(example)}\\fR", _roff(why))


def _roff(text: str) -> str:
    """``text`` with what roff would act upon made literal."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text
