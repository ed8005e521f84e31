"""Redact addresses for messages: no user names, passwords, tokens or signed queries."""

from __future__ import annotations

import re

# The second form is of a password with a slash, a ? or a #, which should have been %-encoded.
_USER_INFO = re.compile(r"(?<=://)(?:[^/?#\s]*@|(?!\[)[^/?#\s:]*:(?!\d*(?:[/?#\s]|$))\S*@)")
_QUERY = re.compile(r"(?P<path>[A-Za-z][A-Za-z0-9+.-]*://[^\s?#'\"]*)[?#][^\s'\"]*")
_BARE_QUERY = re.compile(r"\?[^\s'\"]*")
_SECRETS = re.compile(
    r"(?i)\b(x-amz-[a-z-]+|authorization|token|secret|password|signature|sig|aws_[a-z_]+|access[-_]?key(?:[-_]?id)?)"
    r"(['\"]?\s*[=:]\s*['\"]?)(?:(?:basic|bearer)\s+)?[^\s,;&'\"]+"
)


def redact_url(url: str) -> str:
    """Strip ``url`` of user information, query and fragment."""
    return _USER_INFO.sub("", url).split("?", 1)[0].split("#", 1)[0]


def holds_secret(url: str) -> bool:
    """Tell whether ``url`` has user information, a signature or a token."""
    return bool(_USER_INFO.search(url) or _SECRETS.search(url))


def redact_text(text: str, limit: int = 300) -> str:
    """Make foreign text one printable line of at most ``limit`` characters, without secrets."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = _USER_INFO.sub("", line)
    line = _QUERY.sub(r"\g<path>", line)
    line = _BARE_QUERY.sub("", line)
    line = _SECRETS.sub(r"\1\2(removed)", line)
    return line if len(line) <= limit else line[: limit - 1] + "…"
