"""Option values: text from flags and environment, or a TOML value, to what ``Settings`` holds.

Each takes one value and raises ``ValueError`` saying what was found and what was expected.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence

from soci_bootstrap import paths
from soci_bootstrap.configfiles.soci_rules import parse_bool
from soci_bootstrap.errors import UsageError
from soci_bootstrap.suggest import hint

FILES = ("<files>",)
DIRECTORIES = ("<directories>",)
SET_KEYS = ("<set>",)
"""Marks for completion: what stands there is not a fixed list."""

_NUMBER = re.compile(r"^\s*\d{1,9}(\.\d{1,9})?\s*$", re.ASCII)
_DIGEST = re.compile(r"^[0-9a-fA-F]{64}$")
_OBJECT_NAME = re.compile(r"[a-z][a-z0-9-]{1,61}[a-z0-9]")
_CLUSTER_NAME = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
_AMI_VERSION = re.compile(r"latest|v[0-9]{8}")


def text(value: object) -> str:
    """Take any text but none."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ValueError(f"found {value!r}, expected text")
    return value


def boolean(value: object) -> bool:
    """Take true or false."""
    if isinstance(value, bool):
        return value
    return parse_bool(text(value))


def choice(known: Sequence[str]) -> Callable[[object], object]:
    """Make a parser for one of ``known``."""

    def parse(value: object) -> object:
        if value in known:
            return value
        raise ValueError(f"found {value!r}, expected {_either(known)}{hint(str(value), known)}")

    return parse


def decompressor(known: Sequence[str]) -> Callable[[object], object]:
    """Make a parser for one of ``known``, or the absolute path of a program."""

    def parse(value: object) -> object:
        if value in known or (isinstance(value, str) and value.startswith("/") and value.isprintable()):
            return value
        raise ValueError(
            f"found {value!r}, expected {_either(known)} or an absolute path{hint(str(value), known)}"
        )

    return parse


def directory(value: object) -> str:
    """Take a directory that exists, made absolute: a mistyped root must not become a new tree."""
    path = text(value)
    if not os.path.isdir(path):
        raise ValueError(f"found {value!r}, expected a directory that exists")
    return os.path.abspath(path)


def node_path(value: object) -> str:
    """Take an absolute, normal path that will lie on the node."""
    path = text(value)
    if not paths.is_plain(path.rstrip("/")):
        raise ValueError(f"found {value!r}, expected {paths.PLAIN}")
    return path.rstrip("/")


def version(value: object) -> str:
    """Take a release of SOCI that has parallel pull, without the leading v."""
    from soci_bootstrap.fetch.release import canonical

    try:
        return canonical(text(value).strip())
    except UsageError as error:
        raise ValueError("; ".join(error.problems)) from error


def digest(value: object) -> str:
    """Take a sha256, in lower-case hex."""
    if not isinstance(value, str) or not _DIGEST.match(value.strip()):
        raise ValueError(f"found {value!r}, expected 64 hex digits")
    return value.strip().lower()


def mirror(value: object) -> str:
    """Take a base URL, s3:// prefix or directory."""
    from soci_bootstrap.fetch.release import SCHEMES
    from soci_bootstrap.redact import redact_url

    base = text(value)
    scheme, separator, rest = base.partition("://")
    if separator and (scheme.lower() not in SCHEMES or not rest.strip("/")):
        schemes = ", ".join(f"{known}://" for known in SCHEMES)
        raise ValueError(f"found {redact_url(base)!r}, expected {schemes} and a place, or a directory")
    if separator and scheme.lower() in ("https", "http") and not _is_url(base):
        raise ValueError(f"{redact_url(base)!r} is not a URL: expected https://host/path")
    return base


def _is_url(text: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def zipapp_url(value: object) -> str:
    """Take a URL that can stand in a rendered document and in the stub's shell."""
    from soci_bootstrap.fetch.release import ZIPAPP_URL

    return _matching(value, ZIPAPP_URL, "an https:// or s3:// URL of the zipapp")


def object_name(value: object) -> str:
    """Take a name that a Kubernetes object, a launch template, an SSM document and an AMI may all have."""
    expected = "3 to 63 lower-case letters, digits and hyphens, a letter first and no hyphen last"
    return _matching(value, _OBJECT_NAME, expected)


def cluster_name(value: object) -> str:
    """Take a cluster's name, by the EKS API's own rule."""
    expected = "at most 100 letters, digits, hyphens and underscores, a letter or digit first"
    return _matching(value, _CLUSTER_NAME, expected)


def ami_version(value: object) -> str:
    """Take a release of the AL2023 EKS AMI."""
    return _matching(value, _AMI_VERSION, "latest or a release like v20260724")


def _matching(value: object, pattern: re.Pattern[str], expected: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"found {value!r}, expected {expected}")
    return value


def seconds(value: object) -> float:
    """Take a length of time, more than none and less than a day."""
    return _number(value, 86_400, "seconds")


def gibibytes(value: object) -> float:
    """Take an amount of memory in GiB."""
    return _number(value, 1 << 20, "GiB")


def count(value: object) -> int:
    """Take a whole number, at least one."""
    number = _number(value, 1 << 16, "a whole number", whole=True)
    return int(number)


def _number(value: object, most: int, unit: str, *, whole: bool = False) -> float:
    number = math.nan
    if (isinstance(value, (int, float)) and not isinstance(value, bool)) or (
        isinstance(value, str) and _NUMBER.match(value)
    ):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if not 0 < number <= most or (whole and not number.is_integer()):
        raise ValueError(f"found {value!r}, expected {unit} more than 0 and at most {most}")
    return number


def _either(known: Sequence[str]) -> str:
    return f"{', '.join(known[:-1])} or {known[-1]}" if len(known) > 1 else known[0]
