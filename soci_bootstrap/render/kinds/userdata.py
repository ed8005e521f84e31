"""userData: a MIME document whose shell part runs the stub, and NodeConfig parts only when asked.

What shapes it: Karpenter keeps nothing of a part's headers but Content-Type (so no transfer
encodings), strips carriage returns and puts its own NodeConfig after our parts; EC2 takes 16,384
bytes before base64, with those of Karpenter or EKS among them.
"""

from __future__ import annotations

from collections.abc import Iterator

from soci_bootstrap.errors import UsageError
from soci_bootstrap.render.request import Document, set_arguments, stub_call

#: EC2's limit on userData, bytes before base64.
LIMIT = 16384

#: What we leave of it for the NodeConfig that Karpenter or EKS adds (name, endpoint, CA, kubelet's flags).
RESERVED = 4096

#: Fixed, so that a document changes (and Karpenter replaces nodes) only when its contents do.
BOUNDARY = "SOCI-BOOTSTRAP"

_HEAD = f'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="{BOUNDARY}"\n\n'
END = f"--{BOUNDARY}--\n"

SHELL_TYPE = 'text/x-shellscript; charset="us-ascii"'
NODE_CONFIG_TYPE = "application/node.eks.aws"


def user_data(request: Document) -> str:
    """Render the MIME document, at most 16,384 bytes with what Karpenter or EKS adds to it.

    Raises:
        UsageError: it would be over the limit, or a part holds what MIME would read as its end.
    """
    text = open_user_data(request) + END
    size = len(text.encode())
    reserved = RESERVED if _others_add_to(request) else 0
    if size + reserved > LIMIT:
        kept = (
            f", of which {reserved} are kept for the NodeConfig that is added at launch" if reserved else ""
        )
        raise UsageError(
            [f"the userData would be {size} bytes: EC2 takes {LIMIT} before base64{kept}"],
            remedy="shorten what --node-config adds, or put long settings into a custom AMI with `bake`",
        )
    return text


def open_user_data(request: Document) -> str:
    """Render the document without its closing boundary, so that a part can still be added."""
    return _HEAD + "".join(_part(kind, body) for kind, body in _parts(request))


def shell_part(request: Document) -> str:
    """Write the script that cloud-init runs: it tells the agent's status and ends 0.

    A userData script that fails marks cloud-init's whole run as failed, and the node is joining
    all the same: the status is for the log, and `doctor` has the reason.
    """
    return (
        "#!/bin/sh\n"
        "# Turns on the SOCI snapshotter's parallel pull; whatever fails here, the node joins on overlayfs.\n"
        "{\n"
        + stub_call(request, f"{set_arguments('install', request.arguments)}\n")
        + 'echo "soci-bootstrap: install ended with status $?"\n'
        + "} || :\n"  # where this stands in a script with `set -e`, that goes on
    )


def _parts(request: Document) -> Iterator[tuple[str, str]]:
    yield SHELL_TYPE, shell_part(request)
    if request.node_config is not None:
        yield NODE_CONFIG_TYPE, request.node_config.replace("\r", "")


def _part(content_type: str, body: str) -> str:
    if f"--{BOUNDARY}" in body:
        raise UsageError([f"a part of the userData holds the MIME boundary --{BOUNDARY}"])
    return f"--{BOUNDARY}\nContent-Type: {content_type}\n\n{body.rstrip()}\n\n"


def _others_add_to(request: Document) -> bool:
    """True where Karpenter or EKS puts a NodeConfig of its own into the document."""
    return request.options.kind == "ec2nodeclass" or request.node_config is None
