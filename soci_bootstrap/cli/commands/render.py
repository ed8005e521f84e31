"""`render KIND`: gather what a document is made from, and print it."""

from __future__ import annotations

import hashlib
import re

from soci_bootstrap.cli.result import Result
from soci_bootstrap.errors import StateError, UsageError
from soci_bootstrap.redact import holds_secret
from soci_bootstrap.render import render
from soci_bootstrap.render.arguments import install_arguments
from soci_bootstrap.render.request import Document
from soci_bootstrap.settings import Settings
from soci_bootstrap.system.console import Console

# Control characters, and those that YAML 1.1 takes for the end of a line.
_NOT_IN_YAML = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]"


def run(settings: Settings, console: Console) -> Result:
    """Render what ``settings.render`` asks for.

    Returns:
        ``document`` has ``kind``, ``zipapp_url``, ``zipapp_sha256`` and ``content``; ``text`` is the
        document that was rendered.

    Raises:
        UsageError: options that don't fit, or a document over a limit of its consumer's.
    """
    request = _request(settings)
    if request.options.kind == "ec2nodeclass" and request.options.cluster_name is None:
        console.warn("no --cluster-name given: the document says my-cluster in its role and its tags")
    for flag, url in (("--zipapp-url", request.zipapp_url), ("--mirror", settings.mirror)):
        if url and holds_secret(url):
            console.warn(
                f"{flag} holds credentials, and whoever may read the document, or a node's userData, has "
                "them; s3:// with the instance's role needs none"
            )
    text = render(request)
    document: dict[str, object] = {
        "kind": request.options.kind,
        "zipapp_url": request.zipapp_url,
        "zipapp_sha256": request.zipapp_sha256,
        "content": text,
    }
    return Result(0, document, text)


def _request(settings: Settings) -> Document:
    options = settings.render
    arguments = install_arguments(settings)
    found: list[str] = []
    if options.zipapp_url is None:
        found.append("--zipapp-url is missing: nodes need the https:// or s3:// URL to fetch the zipapp from")
    found.extend(
        f"{argument!r} can't stand in a rendered document: expected printable ASCII"
        for argument in arguments
        if not (argument.isascii() and argument.isprintable())
    )
    found.extend(
        f"{flag}: found {path!r}, expected the absolute path that it has on the node"
        for flag, path in (("--tarball", settings.tarball), ("--mirror", settings.mirror))
        if path is not None and "://" not in path and not path.startswith("/")
    )
    node_config = None
    if options.node_config is not None:
        try:
            node_config = _read_node_config(options.node_config)
        except StateError as error:
            found.append(str(error))
    if found or options.zipapp_url is None:
        raise UsageError(found)
    return Document(
        options=options,
        arguments=arguments,
        stub=_stub(),
        zipapp_url=options.zipapp_url,
        zipapp_sha256=(options.zipapp_sha256 or _own_digest()).lower(),
        node_config=node_config,
    )


def _read_node_config(path: str) -> str:
    """Read the document. nodeadm gives up on one that doesn't parse, and the node never joins."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"--node-config: can't read {path}: {error}") from error
    if not re.search(r"""\bkind["']?\s*:\s*["']?NodeConfig\b""", text):
        raise StateError(f"--node-config: {path} is none", expected="a document of kind: NodeConfig")
    if re.search(
        "[^\\t\\n\\r\\x20-\\x7e\\xa0-\\u2027\\u202a-\\ud7ff\\ue000-\\ufefe\\uff00-\\ufffd\\U00010000-\\U0010ffff]",
        text,
    ):
        raise StateError(f"--node-config: {path} holds a control character", expected="YAML or JSON text")
    return text


def _stub() -> str:
    from soci_bootstrap.system import resources

    return resources.read("bootstrap.sh").decode("ascii")


def _own_digest() -> str:
    """Hash the running zipapp, or in a checkout the one that scripts/build made."""
    import os

    from soci_bootstrap.system import resources

    built = os.path.join(os.path.dirname(resources.PACKAGE), "dist", "soci-bootstrap.pyz")
    agent = resources.agent_bytes()
    if agent is None and os.path.isfile(built):
        with open(built, "rb") as file:
            agent = file.read()
    if agent is None:
        raise UsageError(
            ["the zipapp's digest is unknown: this is not a zipapp, and none was built here"],
            remedy="give --zipapp-sha256, or run scripts/build first",
        )
    return hashlib.sha256(agent).hexdigest()
