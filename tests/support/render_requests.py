"""Requests that the tests of `render` share."""

from __future__ import annotations

import email
from collections.abc import Sequence
from pathlib import Path

from soci_bootstrap.render.request import Document
from soci_bootstrap.settings.render import RenderOptions

GOLDEN = Path(__file__).parent.parent / "golden" / "render"
STUB = (GOLDEN / "stub.sh").read_text()
URL = "https://artifacts.example.com/soci-bootstrap/0.1.0/soci-bootstrap.pyz"
DIGEST = "3f" * 32
NODE_CONFIG = (GOLDEN / "node-config.yaml").read_text()
ARGUMENTS = (
    "--mirror",
    "s3://my-bucket/soci mirror",
    "--set",
    "max_concurrent_unpacks_per_image=8",
    "--deadline",
    "60",
)


def merged_by_karpenter(text: str) -> str:
    """What EC2 gets: each part with its Content-Type alone, then Karpenter's own; no carriage returns."""
    own = "# Karpenter Generated NodeConfig\napiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {}\n"
    parts = [
        (part["Content-Type"], part.get_payload()) for part in email.message_from_string(text).get_payload()
    ]
    lines = ["MIME-Version: 1.0", 'Content-Type: multipart/mixed; boundary="//"', ""]
    for content_type, body in [*parts, ("application/node.eks.aws", own)]:
        lines += ["--//", f"Content-Type: {content_type}", "", body]
    return "\n".join([*lines, "--//--", ""]).replace("\r", "")


def make(
    kind: str,
    arguments: Sequence[str] = (),
    *,
    stub: str = STUB,
    node_config: str | None = None,
    **options: str,
) -> Document:
    return Document(
        options=RenderOptions(kind=kind, **options),
        arguments=arguments,
        stub=stub,
        zipapp_url=URL,
        zipapp_sha256=DIGEST,
        node_config=node_config,
    )


def heredoc(raw: str) -> str:
    """The text that HCL makes of a heredoc, which python-hcl2 leaves as it is written."""
    first, *lines, last = raw[1:-1].split("\n")
    assert first == f"<<{last}"
    body = "".join(f"{line}\n" for line in lines)
    assert "${" not in body.replace("$${", "")
    assert "%{" not in body.replace("%%{", "")
    return body.replace("$${", "${").replace("%%{", "%{")
