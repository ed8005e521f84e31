"""Settings from a file, the environment and the command line: NULs part them."""

from __future__ import annotations

from collections.abc import Callable

from soci_bootstrap import settings
from soci_bootstrap.configfiles import soci, soci_rules, toml
from soci_bootstrap.configfiles.soci import Decompressor
from soci_bootstrap.errors import StateError
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.plan.tuning import tune
from soci_bootstrap.settings.options import OPTIONS
from tests.fuzz.targets import text
from tests.support.corpus.inputs import CASES
from tests.support.corpus.node_files import SETTINGS

_NAMES = [option.variable for option in OPTIONS if option.name not in {"config", "root"}]
SEEDS = [
    *(
        found if isinstance(found, bytes) else str(found).encode()
        for case in CASES
        if (found := case.files.get(SETTINGS)) and len(found) < 2000
    ),
    *(
        b"\0" + bytes([index % 256]) + value.encode()
        for index, name in enumerate(_NAMES)
        for value in ("1", "x", "auto", "/usr/bin/x")
    ),
    b"\0\0install --set max_concurrent_unpacks=8 --wiring=none -v",
    b"\0\0config --vcpus 4 --memory-gib 8.5 --decompressor /bin/x",
    b"\0\0render userdata --zipapp-url https://x/y --sha256",
    b'[set]\nenable = true\n[set.decompress_streams.gzip]\npath = "/x"\nargs = ["-d"]\n',
]


def one(data: bytes) -> None:
    """Load them; what is accepted lasts through a record, and SOCI would accept it."""
    file, _, rest = data.partition(b"\0")
    variable, _, words = rest.partition(b"\0")
    environ = {_NAMES[variable[0] % len(_NAMES)]: text(variable[1:])} if len(variable) > 1 else {}
    _keys(file)
    found = settings.load(text(words).split() or ["config"], environ, _reader(file))
    again = settings.from_json(settings.to_json(found), found.command)
    for name in settings.LASTING:
        assert getattr(again, name) == getattr(found, name), name
    if found.command in {"install", "config"}:
        pull = tune(
            Machine(4, 8 << 30),
            Decompressor("none"),
            discard_unpacked_layers=True,
            overrides=found.parallel_pull,
        )
        assert soci_rules.validate(toml.loads(soci.render(pull), "config.toml")) == []


def _reader(file: bytes) -> Callable[[str], bytes]:
    def read(path: str) -> bytes:
        if not file:
            raise FileNotFoundError(path)
        return file

    return read


def _keys(data: bytes) -> None:
    """A text as the value of every key, and as SOCI's own file."""
    for key in soci_rules.SETTABLE:
        try:
            value = soci_rules.validate_key(key, text(data))
        except ValueError:
            continue
        assert soci_rules.validate_key(key, value) == value
    try:
        document = toml.loads(data, "config.toml")
    except StateError:
        return
    assert all(isinstance(problem, str) for problem in soci_rules.validate(document))
