"""SOCI's config.toml, written from tuned settings."""

from __future__ import annotations

from dataclasses import dataclass

from soci_bootstrap import paths
from soci_bootstrap.configfiles.soci_rules import KEYS, validate
from soci_bootstrap.errors import StateError

USUAL_ARGS = ("-d", "-c")
"""Of igzip, unpigz, gzip and all that are called like these."""

HEADER = (
    "# Written by soci-bootstrap, which tunes it to the node at install and at each boot: edits are\n"
    "# overwritten. Change it with `soci-bootstrap install --set KEY=VALUE`, or in [set] of\n"
    "# /etc/soci-bootstrap/config.toml.\n"
)


def render(pull: ParallelPull, containerd_address: str = paths.CONTAINERD_SOCKET) -> bytes:
    """config.toml for these settings, read back and compared before it is returned.

    Args:
        pull: tuned settings.
        containerd_address: the socket of containerd's own API.

    Raises:
        StateError: the text does not read back as what was meant, or breaks our rules.
    """
    from soci_bootstrap.configfiles import toml

    document = _document(pull, containerd_address)
    text = HEADER.encode() + toml.dumps(document)
    problems = validate(document)
    if toml.loads(text, "SOCI's config.toml") != document:
        problems.append("the text does not read back as the settings it was written from")
    if problems:
        raise StateError(
            "SOCI's config.toml would be wrong",
            found="; ".join(problems),
            expected="settings that SOCI accepts",
            remedy="change the value with --set",
        )
    return text


def _document(pull: ParallelPull, containerd_address: str) -> dict[str, object]:
    table: dict[str, object] = {key: getattr(pull, key) for key in KEYS}
    if pull.decompressor.path is not None:
        gzip = {"path": pull.decompressor.path, "args": list(pull.decompressor.args)}
        table["decompress_streams"] = {"gzip": gzip}
    return {
        "content_store": {"type": "containerd", "containerd_address": containerd_address},
        "cri_keychain": {"enable_keychain": True, "image_service_path": containerd_address},
        "pull_modes": {"parallel_pull_unpack": table},
    }


@dataclass(frozen=True)
class Decompressor:
    """The program that inflates layers.

    Attributes:
        kind: ``igzip``, ``isal`` (ours), ``unpigz``, ``path`` (the user's) or ``none``.
        path: absolute path of the program, None with ``none``: SOCI then looks in its own PATH
            and falls back to Go's gzip.
        args: what makes it read stdin and write stdout.
    """

    kind: str
    path: str | None = None
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParallelPull:
    """``[pull_modes.parallel_pull_unpack]``, one attribute for each of SOCI's keys of that name.

    Limits count connections or layers; negative is unbounded. ``decompressor`` stands for
    ``decompress_streams."gzip"``.
    """

    enable: bool
    max_concurrent_downloads: int
    max_concurrent_downloads_per_image: int
    concurrent_download_chunk_size: str
    max_concurrent_unpacks: int
    max_concurrent_unpacks_per_image: int
    discard_unpacked_layers: bool
    decompressor: Decompressor
