"""Is this node still as the last install left it? Answered from stat() alone, before anything is imported.

The plan is a pure function of settings and of what was observed, so the same settings, the same
inputs and untouched outputs mean that there is nothing to do. Whatever differs, by as little as a
ctime, is for the long way round to judge: a wrong "changed" costs time, a wrong "unchanged" can't be.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence

from soci_bootstrap import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    __loader__: object

PATH = "/var/lib/soci-bootstrap/converged.json"
PLANNED = "/run/soci-bootstrap/planned"
"""There once this boot was planned: nodeadm may have merged our drop-in into its cache since."""
_UNITS = (paths.SOCI_SOCKET, paths.SOCI_SERVICE, paths.CONTAINERD_SERVICE)
_NO_DIFFERENCE = frozenset({"--json", "-v", "--verbose", "-q", "--quiet"})
_STUBS_OWN = ("SOCI_BOOTSTRAP_ZIPAPP_URL", "SOCI_BOOTSTRAP_ZIPAPP_SHA256")
_ELSEWHERE = ("SOCI_BOOTSTRAP_JSON", "SOCI_BOOTSTRAP_ROOT", "SOCI_BOOTSTRAP_CONFIG")
"""Variables that change where to look, or what is printed: only the long way round heeds them."""


def save_document(
    argv: Sequence[str],
    environ: Mapping[str, str],
    root: str,
    inflater: Sequence[str],
    touched: Mapping[str, bool],
    store: Mapping[str, object],
    record: Mapping[str, object],
    document: Mapping[str, object],
    text: str,
) -> bytes:
    """What ``unchanged`` reads back later.

    Args:
        argv: of this run; what only changes the output is left out.
        environ: of this run.
        root: ``/`` or what ``--root`` named.
        inflater: the decompressor that config.toml names, and its arguments.
        touched: every path of the node that was looked at or written, but for files that are
            compared by what they say; True for a directory whose names mattered.
        store: containerd's content store: ``blobs``, the directory; ``layer``, one that keeps
            ``discard_unpacked_layers`` off, empty for none; ``pause``, the pause image's digests.
        record: the ``outcome`` and the lasting ``settings`` in the record that goes with this.
        document: what an unchanged run reports with ``--json``.
        text: what it reports without.
    """
    cache = _read(root, paths.NODECONFIG_CACHE)
    memo = {
        "settings": _settings(argv, environ),
        "machine": _machine(),
        "root": os.path.realpath(root),
        "inflater": list(inflater),
        "signatures": {path: [listed, *_signature(root, path, listed)] for path, listed in touched.items()},
        "containerd_root": _containerd_root(root),
        "store": dict(store),
        "record": dict(record),
        "cache": _digest(cache),
        "document": dict(document),
        "text": text,
    }
    return (json.dumps(memo) + "\n").encode()


def unchanged(argv: Sequence[str], environ: Mapping[str, str]) -> tuple[dict[str, object], str] | None:
    """The report of an install that has nothing to do; None where that takes a closer look."""
    begin = time.monotonic()
    root = _root(argv)
    if any(name in environ for name in _ELSEWHERE) or b"json" in _read(root, paths.SETTINGS):
        return None
    memo = _load(root)
    if (
        memo is None
        or memo.get("settings") != _settings(argv, environ)
        or not _as_it_was(root, memo)
        or not _agent_runs(root)
    ):
        return None
    if os.path.realpath(root) != "/":
        same = memo.get("cache") == _digest(_read(root, paths.NODECONFIG_CACHE))
    else:
        same = os.path.exists(PLANNED) and _units_run()
    if not same:
        return None
    document, text = memo.get("document"), memo.get("text")
    if not isinstance(document, dict) or not isinstance(text, str):
        return None
    return {**document, "seconds": round(time.monotonic() - begin, 3)}, text


def mark_planned() -> None:
    """Say that this boot was planned; the mark goes with /run."""
    os.makedirs(os.path.dirname(PLANNED), exist_ok=True)
    with open(PLANNED, "w", encoding="ascii"):
        pass


def boots_unchanged() -> list[str] | None:
    """At a boot: the decompressor to test, where nothing differs from the last plan; else None."""
    memo = _load("/")
    if (
        memo is None
        or not _as_it_was("/", memo)
        or memo.get("cache") != _digest(_read("/", paths.NODECONFIG_CACHE))
    ):
        return None
    inflater = memo.get("inflater")
    return [str(word) for word in inflater] if isinstance(inflater, list) else None


def renewed(saved: bytes, fresh: bytes) -> bytes:
    """A memo of what is there now, for the settings and with the report of an earlier one.

    One of other lasting settings than the boot went by says nothing of any install: then ``fresh``,
    which is for the next boot alone.
    """
    try:
        earlier, now = json.loads(saved), json.loads(fresh)
        if earlier["record"]["settings"] != now["record"]["settings"]:
            return fresh
        return (
            json.dumps({**now, **{key: earlier[key] for key in ("settings", "document", "text")}}) + "\n"
        ).encode()
    except (ValueError, LookupError, TypeError, RecursionError):
        return fresh


def _load(root: str) -> dict[str, object] | None:
    try:
        memo = json.loads(_read(root, PATH))
        state = json.loads(_read(root, paths.HEALTH) or b"{}")
    except (ValueError, RecursionError):
        return None
    healthy = isinstance(state, dict) and not state.get("degraded")
    return memo if isinstance(memo, dict) and healthy else None


def _as_it_was(root: str, memo: Mapping[str, object]) -> bool:
    try:
        return _matches(root, memo)
    except (TypeError, ValueError, LookupError):
        # Not what we wrote: the long way round writes it anew.
        return False


def _matches(root: str, memo: Mapping[str, object]) -> bool:
    signatures, record, store = memo.get("signatures"), memo.get("record"), memo.get("store")
    return (
        isinstance(signatures, dict)
        and isinstance(record, dict)
        and isinstance(store, dict)
        # One that is staged is for the boot to put into effect.
        and record["outcome"] == "installed"
        and memo.get("machine") == _machine()
        and memo.get("root") == os.path.realpath(root)
        and memo.get("containerd_root") == _containerd_root(root)
        and all(_signature(root, path, known[0]) == known[1:] for path, known in signatures.items())
        and _same_store(root, store)
    )


def _agent_runs(root: str) -> bool:
    """Whether the zipapp that runs is the one that was left on the node: another has to be put there."""
    archive = _archive()
    left = root.rstrip("/") + paths.AGENT
    try:
        return os.path.samefile(archive, left) or _read("", archive) == _read("", left) != b""
    except OSError:
        return False


def _archive() -> str:
    """The zipapp that runs; empty for a source checkout."""
    return str(getattr(__loader__, "archive", ""))


def _settings(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """A digest: a mirror's URL may carry credentials or a signature, which have no place on the disk."""
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        flag, _, value = word.partition("=")
        if word in _NO_DIFFERENCE:
            continue
        if flag == "--deadline" and _is_time(value or "".join(rest[:1])):
            del rest[: 0 if value else 1]
            continue
        words.append(word)
    ours = (name for name in environ if name.startswith("SOCI_BOOTSTRAP_") and name not in _STUBS_OWN)
    words += [f"{name}={environ[name]}" for name in sorted(ours)]
    return _digest("\0".join(words).encode("utf-8", "surrogateescape"))


def _is_time(text: str) -> bool:
    """Whether this makes no difference after ``--deadline``; what is no time is for the long way round."""
    return text.replace(".", "", 1).isdecimal() and 0 < float(text) <= 86_400


def _root(argv: Sequence[str]) -> str:
    for word, following in zip(argv, [*argv[1:], "/"]):
        if word == "--root":
            return following
        if word.startswith("--root="):
            return word.partition("=")[2]
    return "/"


def _machine() -> list[object]:
    with open(paths.MEMINFO, encoding="ascii") as file:
        return [os.cpu_count(), file.readline(), os.geteuid(), os.uname().machine]


def _signature(root: str, path: str, listed: bool) -> list[object]:
    try:
        found = os.lstat(root.rstrip("/") + path)
    except OSError as error:
        return [error.errno]
    if (found.st_mode & 0o170000) == 0o040000 and not listed:
        # Others come and go in it; what is ours there has a signature of its own.
        return [found.st_mode]
    return [found.st_mode, found.st_uid, found.st_gid, found.st_ino, found.st_ctime_ns, found.st_size]


def _read(root: str, path: str) -> bytes:
    try:
        with _open(root.rstrip("/") + path) as file:
            return file.read() or b""
    except OSError:
        return b""


def _open(host: str) -> BinaryIO:
    """For reading; of a FIFO, which must not make us wait, nothing comes."""
    return open(os.open(host, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def _digest(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _containerd_root(root: str) -> str:
    """All that matters of containerd's configuration where nodeadm writes it: its top-level root."""
    for line in _read(root, paths.CONTAINERD_CONFIG).splitlines():
        if line.lstrip().startswith(b"["):
            break
        if line.split(b"=")[0].strip() == b"root":
            return line.decode("utf-8", "replace")
    return ""


def _same_store(root: str, store: Mapping[str, object]) -> bool:
    """Whether the content store still holds a layer, or none, beyond the pause image's."""
    directory = root.rstrip("/") + str(store["blobs"])
    if store["layer"]:
        # One keeps `discard_unpacked_layers` off; how many more there are makes no difference.
        return os.path.lexists(f"{directory}/{store['layer']}")
    return not _new_layer(directory, store["pause"])


def _new_layer(directory: str, known: object) -> bool:
    """Whether a blob came to the content store that is not known and does not begin as JSON does."""
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    exempt = frozenset(known) if isinstance(known, list) else frozenset()
    for name in names:
        if name not in exempt:
            try:
                with _open(f"{directory}/{name}") as file:
                    if file.read(1) != b"{":
                        return True
            except OSError:
                return True
    return False


def _units_run() -> bool:
    """Whether the socket listens, and the daemon runs if containerd does: what no file shows."""
    reading, writing = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writing, 1)]
    try:
        argv = ["systemctl", "is-active", *_UNITS]
        pid = os.posix_spawnp("systemctl", argv, os.environ, file_actions=actions)
    except OSError:
        os.close(reading)
        return False
    finally:
        os.close(writing)
    with open(reading, "rb") as pipe:
        socket, service, containerd = [*pipe.read().split(), b"", b"", b""][:3]
    os.waitpid(pid, 0)
    return socket == b"active" and (containerd != b"active" or service in (b"active", b"activating"))
