"""The rules that SOCI's config.toml must meet.

SOCI ignores keys that it does not know, so a typo turns parallel pull off without a word, and
some values stop the daemon. The rules here are stricter than its own. Key names, types and
defaults: ``config/*.go`` of awslabs/soci-snapshotter, v0.11.0 to v0.15.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from soci_bootstrap.suggest import hint_or_all

LIMITS = (
    "max_concurrent_downloads",
    "max_concurrent_downloads_per_image",
    "max_concurrent_unpacks",
    "max_concurrent_unpacks_per_image",
)
SWITCHES = ("enable", "discard_unpacked_layers")
CHUNK_SIZE_KEY = "concurrent_download_chunk_size"
KEYS = ("enable", *LIMITS[:2], CHUNK_SIZE_KEY, *LIMITS[2:], "discard_unpacked_layers")
"""Every parallel-pull key with a plain value, in the order in which upstream documents them."""

GZIP_PATH_KEY = "decompress_streams.gzip.path"
GZIP_ARGS_KEY = "decompress_streams.gzip.args"
SETTABLE = (*KEYS, GZIP_PATH_KEY, GZIP_ARGS_KEY)
"""The keys that ``--set`` takes."""

MAX_LIMIT = 10_000
_SIZE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(gb|mb|kb|b)?\s*$", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30}
_MIN_CHUNK, _MAX_CHUNK = 1 << 20, 4 << 30
_INTEGER = re.compile(r"^\s*[+-]?\d{1,18}\s*$", re.ASCII)
_BOOLEANS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def parse_bool(text: str) -> bool:
    """``true``, ``yes``, ``on``, ``1`` and their opposites, any case. Raises ``ValueError``."""
    value = _BOOLEANS.get(text.strip().lower())
    if value is None:
        raise ValueError(f"found {text!r}, expected true or false")
    return value


def chunk_bytes(text: str) -> int:
    """The bytes that SOCI reads a chunk size as. Raises ``ValueError`` for one it would refuse."""
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"found {text!r}, expected a number and b, kb, mb or gb, such as 16mb")
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


def validate_key(key: str, value: object) -> object:
    """One parallel-pull key, typed.

    Args:
        key: one of ``SETTABLE``.
        value: text from a flag or the environment, or a TOML value from a file.

    Returns:
        ``bool``, ``int``, ``str``, or a tuple of ``str`` for the decompressor's arguments.

    Raises:
        ValueError: says what was found and expected, without naming the key's source.
    """
    if key in LIMITS:
        return _limit(value)
    if key in SWITCHES:
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return parse_bool(value)
        raise ValueError(f"found {value!r}, expected true or false")
    if key == CHUNK_SIZE_KEY:
        return _chunk_size(value)
    if key == GZIP_PATH_KEY:
        return _path(value)
    if key == GZIP_ARGS_KEY:
        return _arguments(value)
    raise ValueError(f"no parallel-pull key{hint_or_all(key, SETTABLE)}")


def limit_problems(values: Mapping[str, object]) -> list[str]:
    """Pairs of limits that SOCI refuses together: more for each image than for all of them."""
    problems = []
    for total in ("max_concurrent_downloads", "max_concurrent_unpacks"):
        limit, each = values.get(total), values.get(f"{total}_per_image")
        if isinstance(limit, int) and isinstance(each, int) and 0 <= limit < each:
            problems.append(f"{total}_per_image: found {each}, expected at most {total}, which is {limit}")
    return problems


def validate(document: Mapping[str, object]) -> list[str]:
    """Everything in a config.toml that would stop SOCI or quietly change what it does.

    Args:
        document: the parsed file; tables that parallel pull does not need are not judged.

    Returns:
        Problems, each naming its key with what was found and expected; empty is good.
        ``enable = false`` is somebody's decision and no problem; a missing ``enable`` is one.
    """
    problems: list[str] = []
    store = _table(document, "content_store", problems)
    if store.get("type") != "containerd":
        problems.append(f"content_store.type: found {store.get('type')!r}, expected 'containerd'")
    keychain = _table(document, "cri_keychain", problems)
    if keychain.get("enable_keychain") is not True:
        problems.append(
            f"cri_keychain.enable_keychain: found {keychain.get('enable_keychain')!r}, expected True"
        )
    for name, table in (
        ("content_store.containerd_address", store),
        ("cri_keychain.image_service_path", keychain),
    ):
        key = name.partition(".")[2]
        if key in table:
            problems += _judged(name, _path, table[key])
    pull = _table(_table(document, "pull_modes", problems), "parallel_pull_unpack", problems)
    return problems + _pull_problems(pull)


def _pull_problems(pull: Mapping[str, object]) -> list[str]:
    problems = [] if "enable" in pull else ["parallel_pull_unpack.enable: found nothing, expected true"]
    for key, value in pull.items():
        name = f"parallel_pull_unpack.{key}"
        if key == "decompress_streams":
            continue
        if key not in KEYS:
            problems.append(f"{name}: no parallel-pull key{hint_or_all(key, KEYS)}")
        elif isinstance(value, str) is not (key == CHUNK_SIZE_KEY):
            problems.append(f"{name}: found {value!r}, expected a TOML value of the key's own type")
        else:
            problems += _judged(name, lambda found, key=key: validate_key(key, found), value)  # type: ignore[misc]
    problems += [f"parallel_pull_unpack.{problem}" for problem in limit_problems(pull)]
    for stream, table in _table(pull, "decompress_streams", problems).items():
        name = f"decompress_streams.{stream}"
        if not isinstance(table, Mapping):
            problems.append(f"{name}: found {table!r}, expected a table with path and args")
            continue
        problems += [
            f"{name}.{key}: no such key{hint_or_all(key, ('path', 'args'))}"
            for key in table
            if key not in ("path", "args")
        ]
        problems += _judged(f"{name}.path", _path, table.get("path"))
        problems += _judged(f"{name}.args", _arguments, table.get("args", []))
    return problems


def _judged(name: str, rule: Callable[[object], object], value: object) -> list[str]:
    try:
        rule(value)
    except ValueError as error:
        return [f"{name}: {error}"]
    return []


def _table(parent: Mapping[str, object], key: str, problems: list[str]) -> Mapping[str, object]:
    value = parent.get(key, {})
    if isinstance(value, Mapping):
        return value
    problems.append(f"{key}: found {value!r}, expected a table")
    return {}


def _limit(value: object) -> int:
    number = int(value) if isinstance(value, str) and _INTEGER.match(value) else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"found {value!r}, expected a whole number")
    if number == 0:
        raise ValueError(
            "found 0, which makes every pull wait for ever; expected 1 or more, or -1 for no limit"
        )
    if number > MAX_LIMIT:
        raise ValueError(f"found {number}, expected at most {MAX_LIMIT}, or -1 for no limit")
    return number if number > 0 else -1


def _chunk_size(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"found {value!r}, expected text such as 16mb")
    size = chunk_bytes(value)
    if not _MIN_CHUNK <= size <= _MAX_CHUNK:
        raise ValueError(f"found {value!r}, which is {size} bytes; expected 1mb to 4gb")
    return value.strip()


def _path(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value or "\n" in value:
        raise ValueError(f"found {value!r}, expected an absolute path")
    return value


def _arguments(value: object) -> tuple[str, ...]:
    """A list, or its JSON text: splitting a command line at blanks would guess at quotes."""
    found = value
    if isinstance(value, str):
        import json

        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, (list, tuple)) or not all(isinstance(item, str) for item in found):
        raise ValueError(f'found {value!r}, expected a list of strings such as ["-d", "-c"]')
    return tuple(found)
