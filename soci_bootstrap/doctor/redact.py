"""Take secrets out of other people's files before they leave the node.

Documents are taken apart by their structure, everything else by what looks like a secret. Both err
on the side of removing: a maintainer can ask, a leaked token can't be taken back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from soci_bootstrap.configfiles import toml
from soci_bootstrap.errors import StateError

REMOVED = "(removed)"

_NAMES = (
    r"pass(?:word|wd|phrase)?|pwd|secret|token|credential|cred|auth|authorization|bearer|cookie|session|"
    r"private|api[-_]?key|access[-_]?key|key[-_]?data|certificate[-_]?(?:authority|data)|ca[-_]?(?:data|bundle|cert)|"
    r"username|signature|sig|x-amz-[a-z-]+|pat|jwt|otp|webhook|dsn|connection[-_]?string"
)
_SECRET_KEY = re.compile(rf"(?i)(?:^|[^a-z]|(?<=[a-z])(?=[A-Z]))(?:{_NAMES})(?:s|data|key|id)?(?:$|[^a-z])")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_HEADER = re.compile(r"(?i)(?:^|[^a-z])headers?(?:$|[^a-z])")
# Words of configuration files that merely sound like it.
_HARMLESS = frozenset({"disable_token", "userdata", "enable_keychain", "cri_keychain", "sessionaffinity"})

_PEM = re.compile(r"-----BEGIN [^-]+-----.*?(?:-----END [^-]+-----|\Z)", re.DOTALL)
_USER_INFO = re.compile(r"(?<=://)[^\s\"'<>]*@(?!sha256:)")
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s?#\"'<>]*)[?#][^\s\"'<>]*")
_SCHEME_WORD = re.compile(r"(?i)\b(basic|bearer|token)\s+[A-Za-z0-9._~+/=:-]{6,}")
_PROXY = re.compile(r"(?i)(\b[a-z_]*proxy[a-z_]*\b[\"']?\s*[=:]\s*[\"']?)[^\s\"'@]*@")
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA)[A-Z0-9]{12,}\b")
_KNOWN_TOKEN = re.compile(
    r"\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|dckr_pat_|k8s-aws-v1\.)[A-Za-z0-9._-]{8,}"
)
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}")
_BLOB = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_FLAG = re.compile(
    r"(?P<name>--?[A-Za-z][A-Za-z0-9-]*)(?P<gap>[= ]+)(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"'-][^\s\"']*)"
)
_ASSIGNED = re.compile(r"(?P<quote>[\"']?)(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)(?P=quote)\s*[=:][^\S\n]*")
_QUOTED = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_BLOCK = re.compile(
    r"^(?P<indent>\s*)(?:- )?[\"']?(?P<name>[A-Za-z0-9_.-]+)[\"']?\s*[=:]\s*(?:[|>][+-]?|[\[{]*)[^\S\n]*$"
)


def file(name: str, data: bytes) -> bytes:
    """A file without its secrets, by what its name says it is.

    Args:
        name: its path; ``.json``, ``.toml`` and kubelet's ``.conf`` are taken apart.
        data: its bytes; what is not UTF-8 is replaced.
    """
    said = data.decode("utf-8", "replace")
    if name.endswith((".json", ".conf")) or said.lstrip().startswith("{"):
        try:
            return (json.dumps(value(json.loads(said)), indent=1) + "\n").encode()
        except (ValueError, RecursionError):
            return text(said).encode()
    if name.endswith(".toml"):
        try:
            return toml.dumps(value(toml.loads(said, name)))
        except (StateError, TypeError, RecursionError):
            return text(said).encode()
    return text(said).encode()


def value(found: Any, name: str = "") -> Any:
    """A document's value, looked through to its leaves; what a secret's key holds goes whole."""
    if isinstance(found, Mapping):
        if _HEADER.search(_words(name)):
            return dict.fromkeys(found, REMOVED)
        return {text(str(key)): _member(str(key), below) for key, below in found.items()}
    if isinstance(found, (list, tuple)):
        return [value(below, name) for below in found]
    return text(found) if isinstance(found, str) else found


def text(found: str) -> str:
    """Text without what looks like a secret."""
    found = _PEM.sub(REMOVED, found)
    found = _PEM.sub(REMOVED, found.replace("\\n", "\n")) if "-----BEGIN" in found else found
    found = _without_blocks(found)
    found = _USER_INFO.sub(f"{REMOVED}@", found)
    found = _PROXY.sub(rf"\g<1>{REMOVED}@", found)
    found = _QUERY.sub(rf"\1?{REMOVED}", found)
    found = _SCHEME_WORD.sub(rf"\1 {REMOVED}", found)
    for pattern in (_KEY_ID, _KNOWN_TOKEN, _JWT):
        found = pattern.sub(REMOVED, found)
    found = _FLAG.sub(_flag, found)
    found = _without_assigned(found)
    return _BLOB.sub(_blob, found)


def is_secret(name: str) -> bool:
    """Tell whether a key's name says that its value is a secret."""
    # Where paths are keys, a word in one says nothing.
    harmless = "/" in name or name.lower() in _HARMLESS
    return not harmless and bool(_SECRET_KEY.search(_words(name)))


def _member(name: str, below: Any) -> Any:
    if not is_secret(name) or isinstance(below, bool) or below in (None, ""):
        return value(below, name)
    # A table of that name is looked into: its own keys tell, as in `registry.configs."x".auth`.
    return value(below, name) if isinstance(below, Mapping) else REMOVED


def _words(name: str) -> str:
    return _CAMEL.sub("-", name).replace("_", "-")


def _flag(match: re.Match[str]) -> str:
    return f"{match['name']}{match['gap']}{REMOVED}" if is_secret(match["name"]) else match[0]


def _without_assigned(found: str) -> str:
    """``NAME=value`` and ``name: value`` of any file or command line, the name a secret's.

    Unquoted, a value ends with its line: how much of that is the secret only the program knows.
    """
    kept, position = "", 0
    while (match := _ASSIGNED.search(found, position)) is not None:
        kept += found[position : match.end()]
        position = match.end()
        if is_secret(match["name"]):
            quote = found[match.start() - 1 : match.start()]
            position = _value_end(found, position, "" if match["quote"] or quote not in {'"', "'"} else quote)
            kept += REMOVED
    return kept + found[position:]


def _value_end(found: str, start: int, quote: str) -> int:
    """Where a value ends; ``quote`` is open before its name, as in ``Environment="NAME=value"``."""
    quoted = _QUOTED.match(found, start)
    if quoted and not quote:
        return quoted.end()
    ends = (at for mark in (quote, "\n") if mark and (at := found.find(mark, start)) >= 0)
    return min(ends, default=len(found))


def _blob(match: re.Match[str]) -> str:
    """Long runs of mixed letters and digits are keys; digests, paths and words are not."""
    found = match[0]
    kinds = (any(map(str.isupper, found)), any(map(str.islower, found)), any(map(str.isdigit, found)))
    if _HEX.fullmatch(found) or not all(kinds) or found.count("/") > len(found) // 12 + 2:
        return found
    return REMOVED


def _without_blocks(found: str) -> str:
    """YAML's block scalars under a secret's key."""
    kept: list[str] = []
    deeper: int | None = None
    for line in found.split("\n"):
        indent = len(line) - len(line.lstrip())
        if deeper is not None:
            if not line.strip() or indent > deeper:
                continue
            deeper = None
        match = _BLOCK.match(line)
        if match and is_secret(match["name"]):
            deeper = len(match["indent"])
            kept.append(f"{match['indent']}{match['name']}: {REMOVED}")
        else:
            kept.append(line)
    return "\n".join(kept)
