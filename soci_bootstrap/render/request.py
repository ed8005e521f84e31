"""Everything a rendered document is made from, gathered so that rendering itself is pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.errors import UsageError
from soci_bootstrap.settings.render import RenderOptions

DEFAULT_NAME = "soci"


@dataclass(frozen=True)
class Document:
    """The inputs of one rendering; the same inputs give the same bytes.

    Attributes:
        options: checked by ``options.problems`` before.
        arguments: what the agent on the node is started with.
        stub: text of scripts/bootstrap.sh.
        zipapp_url: where the stub fetches the zipapp from.
        zipapp_sha256: its digest, 64 lower-case hex digits.
        node_config: text of the user's NodeConfig document, None for no such part.
    """

    options: RenderOptions
    arguments: Sequence[str]
    stub: str
    zipapp_url: str
    zipapp_sha256: str
    node_config: str | None = None

    @property
    def name(self) -> str:
        """The rendered object's name."""
        return self.options.name or DEFAULT_NAME


def set_arguments(command: str, arguments: Sequence[str]) -> str:
    """Shell command that makes ``command`` and ``arguments`` the stub's ``"$@"``."""
    return f"set -- {shlex.join([command, *arguments])}"


def stub_call(request: Document, prologue: str) -> str:
    """Shell text that runs ``prologue`` (whole lines; sets ``"$@"``) and the stub, its status in ``$?``.

    The subshell keeps the stub's `set` and `exit` to itself, and makes a document that was cut
    short a syntax error, of which the shell runs nothing.
    """
    body = request.stub.split("\n", 1)[1] if request.stub.startswith("#!") else request.stub
    return (
        "(\n"
        f"{prologue}"
        f"export SOCI_BOOTSTRAP_ZIPAPP_URL='{request.zipapp_url}'\n"
        f"export SOCI_BOOTSTRAP_ZIPAPP_SHA256='{request.zipapp_sha256}'\n"
        f"{body.strip()}\n"
        ")\n"
    )


def bake_script(request: Document) -> str:
    """Shell text that bakes SOCI into the image it runs in, and ends with the agent's status."""
    return stub_call(request, f"{set_arguments('bake', request.arguments)}\n") + "exit $?\n"


def check_script() -> str:
    """Shell text that ends 0 where `doctor` says healthy, or pending: an image waits for its first boot."""
    return f"""\
report=$({paths.AGENT} doctor --json)
status=$?
printf '%s\\n' "$report"
case $report in
  *'"verdict": "pending"'*) exit 0 ;;
esac
exit "$status"
"""


def without_braces(kind: str, text: str) -> str:
    """``text``, or ``UsageError`` where it holds the ``{{`` that the document's engine would act upon."""
    if "{{" in text:
        raise UsageError([f"a {kind} document can't carry '{{{{', which its engine would replace"])
    return text
