"""Help and manual page, from the tables of commands and options."""

from __future__ import annotations

from collections.abc import Iterator

from soci_bootstrap import paths
from soci_bootstrap.settings.commands import COMMANDS, command
from soci_bootstrap.settings.options import ENVIRONMENT_PREFIX, OPTIONS, Option, options_of

_FILES = (
    (paths.SETTINGS, "settings, in TOML, with the names of the options; [set] is a table"),
    (paths.SOCI_CONFIG, "what SOCI reads; written by install and at each boot"),
    (paths.NODEADM_DROPIN, "the drop-in that points containerd and kubelet at SOCI"),
    (paths.AGENT, "this program, for the hooks and the boot-time unit"),
    (f"{paths.STATE}/", "the record of what was changed, and backups of what stood there"),
)

WIDTH = 98

SUMMARY = "turn on the SOCI snapshotter's parallel pull on an EKS node, so that the node always joins"

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "install": (
        ("install", "what userData runs"),
        (
            "install --mirror s3://my-bucket/soci --strict",
            "without Internet access, failing instead of failing open",
        ),
        ("install --set max_concurrent_downloads_per_image=40", "with one of SOCI's own keys"),
        ("install --tarball ./soci-snapshotter.tar.gz --sha256 HEX", "from a file of your own"),
        ("install --force", "on a running node: switch now, whatever runs there"),
    ),
    "bake": (
        ("bake", "in an image builder's instance"),
        ("bake --root /mnt --arch arm64", "into a mounted image, also of the other architecture"),
    ),
    "plan": (
        ("plan", "steps and diffs; exit 3 where something would change"),
        ("plan --json | jq '.steps[] | select(.changed)'", "only what would change"),
    ),
    "doctor": (
        ("doctor", "what is not well, with what to do, and the verdict"),
        ("doctor --wait 60", "after a boot or an install: until it is healthy, for a minute at most"),
        ("doctor --json | jq -r .verdict", "healthy, degraded, broken, pending, absent or unknown"),
        ("doctor --bundle /tmp/soci-report.tar.gz", "what a bug report needs, without secrets"),
    ),
    "rollback": (
        ("rollback", "on a drained node"),
        ("rollback --force", "over files that someone edited since, and under running workloads"),
    ),
    "render": (
        ("render userdata --zipapp-url https://example.com/soci-bootstrap.pyz", "MIME userData"),
        (
            "render ec2nodeclass --zipapp-url s3://my-bucket/soci.pyz --instance-store-policy RAID0",
            "for Karpenter",
        ),
    ),
    "mirror": (
        ("mirror /srv/soci", "into a directory"),
        ("mirror s3://my-bucket/soci --arch arm64", "into a bucket, for one architecture"),
    ),
    "config": (
        ("config", "this node's"),
        ("config --vcpus 192 --memory-gib 768 --decompressor igzip", "another node's"),
    ),
    "completion": (
        (
            "completion bash > /etc/bash_completion.d/soci-bootstrap",
            "for every user of bash; a new shell has it",
        ),
        ("completion zsh > /usr/local/share/zsh/site-functions/_soci-bootstrap", "for every user of zsh"),
    ),
    "man": (("man | man -l -", "read it"),),
}

EXIT_STATUSES: dict[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("0", "done, or nothing to do"),
        ("1", "failed: bad usage, refused, or anything that fails with bake, --root or --strict"),
        ("2", "degraded: the node is on overlayfs; stderr's last line says why"),
    ),
    "plan": (("0", "nothing to do"), ("1", "failed"), ("3", "changes pending")),
    "doctor": (
        ("0", "healthy"),
        ("1", "broken, or bad usage"),
        ("2", "degraded or pending"),
        ("3", "absent: never installed on this node"),
        ("4", "unknown: this user can't see enough to tell, or nothing could be looked at"),
    ),
}


def overview() -> str:
    """Help for the program."""
    lines = [
        f"soci-bootstrap: {SUMMARY}",
        "",
        "usage: soci-bootstrap COMMAND [OPTIONS]",
        "",
        "commands:",
        *_columns([(f"{known.name} {known.operand}".strip(), known.summary) for known in COMMANDS]),
        "",
        "  soci-bootstrap COMMAND --help says more, with examples; --version prints the version.",
        "",
        "settings:",
        f"  Flags win over {ENVIRONMENT_PREFIX}* in the environment (--soci-version is",
        f"  {ENVIRONMENT_PREFIX}SOCI_VERSION; {ENVIRONMENT_PREFIX}SET is a comma-separated list),",
        f"  which wins over {paths.SETTINGS} or --config FILE: TOML with the",
        "  same names, [set] a table.",
        "",
        "exit status:",
        *_columns(list(EXIT_STATUSES[""])),
    ]
    return "\n".join(lines) + "\n"


def command_help(name: str) -> str:
    """Help for one command."""
    known = command(name)
    if known is None:
        return overview()
    options = options_of(name)
    usage = f"usage: soci-bootstrap {name}{f' {known.operand}' if known.operand else ''}"
    lines = [f"{usage} [OPTIONS]" if options else usage, "", f"  {known.summary}"]
    if known.choices:
        lines += ["", f"{known.operand}: {', '.join(known.choices)}"]
    if options:
        lines += ["", "options:", *_columns([(spelling(option), option.help) for option in options])]
    if any(option.name == "set" for option in options):
        from soci_bootstrap.configfiles.soci_rules import SETTABLE

        lines += ["", "KEY:", *(f"  {key}" for key in SETTABLE)]
    lines += ["", "examples:"]
    for example, why in EXAMPLES[name]:
        lines += [f"  soci-bootstrap {example}", f"      {why}"]
    statuses = EXIT_STATUSES.get(name, EXIT_STATUSES[""] if name == "install" else ())
    if statuses:
        lines += ["", "exit status:", *_columns(list(statuses))]
    return "\n".join(lines) + "\n"


def spelling(option: Option) -> str:
    """``-v, --verbose`` or ``--mirror URL|DIR``."""
    short = f"-{option.short}, " if option.short else ""
    return f"{short}{option.flag} {option.metavar}".rstrip()


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns; the second wraps."""
    import textwrap

    left = max(len(name) for name, _ in rows) + 4
    lines: list[str] = []
    for name, text in rows:
        wrapped = textwrap.wrap(text, WIDTH - left)
        lines.append(f"  {name}".ljust(left) + wrapped[0])
        lines += [" " * left + more for more in wrapped[1:]]
    return lines


def page(version: str) -> str:
    """soci-bootstrap(1)."""
    return "\n".join(_lines(version)) + "\n"


def _lines(version: str) -> Iterator[str]:
    yield f'.TH SOCI\\-BOOTSTRAP 1 "" "soci\\-bootstrap {_roff(version)}" "System Administration"'
    yield from (".SH NAME", f"soci\\-bootstrap \\- {_roff(SUMMARY)}")
    yield from (".SH SYNOPSIS", ".B soci\\-bootstrap", "\\fICOMMAND\\fR [\\fIOPTIONS\\fR]")
    yield ".SH COMMANDS"
    for one in COMMANDS:
        yield from (".TP", f"\\fB{one.name}\\fR \\fI{one.operand}\\fR".replace(" \\fI\\fR", ""))
        yield _roff(f"{one.summary}{': ' + ', '.join(one.choices) if one.choices else ''}")
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
