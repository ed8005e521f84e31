"""Putting text into YAML and HCL documents so that a parser gives back the same bytes."""

from __future__ import annotations

import json

from soci_bootstrap.errors import UsageError

_HEREDOC = "SOCI_BOOTSTRAP_EOT"


def yaml_scalar(value: str) -> str:
    """``value`` as a double-quoted scalar, which reads the same in YAML 1.1, YAML 1.2 and JSON."""
    return json.dumps(value)


def yaml_block(value: str, indent: int) -> str:
    """``value`` as a literal block scalar whose lines stand ``indent`` spaces in.

    ``value`` ends with one newline and doesn't begin with a space, so that plain ``|`` means just it.
    """
    pad = " " * indent
    lines = (pad + line if line else "" for line in value.split("\n"))
    return "|\n" + "\n".join(lines)


def hcl_heredoc(value: str) -> str:
    """``value`` (whole lines) as an HCL heredoc in which no template is evaluated.

    Raises:
        UsageError: ``value`` holds what ends the heredoc, or what HCL has no escape for.
    """
    if _HEREDOC in value:
        raise UsageError([f"the document can't carry {_HEREDOC}, which ends its heredoc"])
    for hostile in ("$${", "%%{"):
        if hostile in value:
            raise UsageError([f"the document can't carry {hostile}, which it can't escape"])
    escaped = value.replace("${", "$${").replace("%{", "%%{")
    return f"<<{_HEREDOC}\n{escaped}{_HEREDOC}"


def hcl_string(value: str) -> str:
    """``value`` (printable ASCII) as a quoted HCL string."""
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")
