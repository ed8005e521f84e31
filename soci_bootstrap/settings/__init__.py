"""Flags over environment over file over defaults, checked: every problem told at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from soci_bootstrap.configfiles import soci_rules
from soci_bootstrap.configfiles.soci import USUAL_ARGS
from soci_bootstrap.configfiles.soci_rules import GZIP_ARGS_KEY, GZIP_PATH_KEY
from soci_bootstrap.errors import StateError, UsageError
from soci_bootstrap.fetch import release
from soci_bootstrap.fetch.release import Request
from soci_bootstrap.settings import commandline
from soci_bootstrap.settings.commandline import CommandLine
from soci_bootstrap.settings.options import OPTIONS
from soci_bootstrap.settings.sources import Given, ReadFile, gather

if TYPE_CHECKING:
    from soci_bootstrap.settings.render import RenderOptions


_FETCHING = ("install", "bake", "plan", "render", "mirror")
"""Commands that fetch a release, or have one fetched."""


@dataclass(frozen=True)
class Settings:
    """The settings of one run, every value checked.

    Attributes:
        command: what to run.
        operand: `mirror`'s DEST, `completion`'s SHELL, `render`'s KIND.
        root: directory to work below, ``/`` for this node.
        soci_version: release of SOCI without v, None for the newest pinned one.
        mirror: base URL, ``s3://`` prefix or directory, None for upstream.
        tarball: the release's archive, None to fetch it.
        sha256: the archive's digest in lower-case hex, None for the pinned one.
        arch: ``amd64``, ``arm64``, None for this machine's.
        wiring: ``auto``, ``nodeadm``, ``direct`` or ``none``.
        snapshotter_root: SOCI's root directory, None for the usual one.
        parallel_pull: SOCI's own keys that the user set, typed.
        decompressor: ``auto``, ``igzip``, ``isal``, ``unpigz``, ``none`` or an absolute path.
        decompressor_args: of a decompressor given by its path, None for every other.
        deadline: seconds that all waiting may take together.
        strict: fail instead of failing open.
        force: go on where workloads, images or edits of others are in the way.
        json: print one JSON object.
        verbosity: -1, 0 or 1.
        vcpus: of the node to tune for, None for this machine's.
        memory_gib: of the node to tune for, None for this machine's.
        wait: seconds within which `doctor` looks again until the node is healthy.
        bundle: file that `doctor` also writes what a bug report needs to.
        render_options: `render`'s own options, None for every other command.
        given: options, as attributes, that a flag, the environment or the file set; the rest are defaults.
        unseen: sources that this user may not read, a sentence each.
    """

    command: str
    operand: str | None = None
    root: str = "/"
    soci_version: str | None = None
    mirror: str | None = None
    tarball: str | None = None
    sha256: str | None = None
    arch: str | None = None
    wiring: str = "auto"
    snapshotter_root: str | None = None
    parallel_pull: Mapping[str, object] = field(default_factory=dict)
    decompressor: str = "auto"
    decompressor_args: tuple[str, ...] | None = None
    deadline: float = 120.0
    strict: bool = False
    force: bool = False
    json: bool = False
    verbosity: int = 0
    vcpus: int | None = None
    memory_gib: float | None = None
    bundle: str | None = None
    wait: float = 0.0
    render_options: RenderOptions | None = None
    given: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()

    @property
    def live(self) -> bool:
        """Tell if this run is about the machine that it runs on."""
        return self.root == "/"

    @property
    def render(self) -> RenderOptions:
        """`render`'s own options. Raises ``ValueError`` for another command."""
        if self.render_options is None:
            raise ValueError(f"{self.command} has no options of render")
        return self.render_options


def load(argv: Sequence[str], environ: Mapping[str, str], read_file: ReadFile) -> Settings:
    """Settings from every source.

    Args:
        argv: without the program's name.
        environ: the environment; only ``SOCI_BOOTSTRAP_*`` is looked at.
        read_file: reads the file of settings.

    Raises:
        UsageError: with every problem of every source, each naming its source.
    """
    line = commandline.parse(argv)
    problems = list(line.problems)
    unseen: list[str] = []
    given = gather(line, environ, read_file, problems, unseen)
    taken = [found for found in given if line.command in found.option.commands]
    settings = replace(_settings(line, _strongest(taken, problems), problems), unseen=tuple(unseen))
    if problems:
        command = f" {line.command}" if line.command else ""
        raise UsageError(list(dict.fromkeys(problems)), remedy=f"see soci-bootstrap{command} --help")
    return settings


def _strongest(given: Sequence[Given], problems: list[str]) -> dict[str, Given]:
    """Choose each option's winner; of options that exclude each other, the one of the stronger source."""
    chosen: dict[str, Given] = {}
    for found in given:
        before = chosen.get(found.option.name)
        value = found.value
        if found.option.name == "set" and before is not None:
            value = {**_mapping(before.value), **_mapping(found.value)}
        chosen[found.option.name] = Given(found.option, value, found.source, found.rank)
    for one, other in (("tarball", "mirror"), ("verbose", "quiet")):
        if one in chosen and other in chosen and chosen[one].value and chosen[other].value:
            first, second = chosen[one], chosen[other]
            if first.rank == second.rank:
                problems.append(
                    f"{first.source} and {second.source} exclude each other: expected one of them"
                )
            chosen.pop(one if first.rank < second.rank else other)
    return chosen


def _settings(line: CommandLine, chosen: Mapping[str, Given], problems: list[str]) -> Settings:
    values = {found.option.attribute: found.value for found in chosen.values()}
    given = frozenset(values)
    pull = dict(_mapping(values.pop("set", {})))
    verbosity = int(bool(values.pop("verbose", False))) - int(bool(values.pop("quiet", False)))
    values.pop("config", None)
    render_options = _render_options(line, values) if line.command == "render" else None
    path, args = pull.pop(GZIP_PATH_KEY, None), pull.pop(GZIP_ARGS_KEY, None)
    if path is not None:
        if values.get("decompressor", "auto") not in ("auto", path):
            source = chosen["decompressor"].source
            problems.append(f"{source} and {GZIP_PATH_KEY} name different programs: expected one of them")
        values["decompressor"] = path
        given |= {"decompressor"}
    if str(values.get("decompressor", "")).startswith("/"):
        values["decompressor_args"] = USUAL_ARGS if args is None else args
    elif args is not None:
        problems.append(f"{GZIP_ARGS_KEY} needs a program: expected {GZIP_PATH_KEY} or --decompressor /path")
    values.update(parallel_pull=pull, verbosity=verbosity, render_options=render_options)
    settings = Settings(line.command, line.operand, **values, given=given)  # type: ignore[arg-type]
    problems += _disagreements(settings, chosen)
    return settings


def _disagreements(settings: Settings, chosen: Mapping[str, Given]) -> Iterator[str]:
    """Values that are good alone and wrong together."""
    yield from (f"set {problem}" for problem in soci_rules.limit_problems(settings.parallel_pull))
    only = {"arch": "--root or mirror", "vcpus": "--root or config", "memory-gib": "--root or config"}
    for name in only if settings.live else ():
        if name in chosen and settings.command not in ("mirror", "config" if name != "arch" else ""):
            yield f"{chosen[name].source}: found {chosen[name].value}, expected it only with {only[name]}"
    if settings.command == "mirror" and settings.sha256 and not (settings.soci_version and settings.arch):
        yield "--sha256 with mirror needs --soci-version and --arch: a digest is of one archive"
    if settings.command in _FETCHING:
        # Told before anything is rendered or put in place. A pinned version is so for both architectures.
        unsafe = Request(
            settings.soci_version or release.NEWEST,
            settings.arch or release.ARCHITECTURES[0],
            sha256=settings.sha256,
            mirror=settings.mirror,
            tarball=settings.tarball,
        ).unsafe()
        if unsafe is not None:
            yield unsafe


def _render_options(line: CommandLine, values: dict[str, object]) -> RenderOptions:
    from dataclasses import fields

    from soci_bootstrap.settings.render import RenderOptions

    names = {option.name for option in fields(RenderOptions)}
    own = {name: values.pop(name) for name in list(values) if name in names}
    return RenderOptions(kind=line.operand or "", **own)  # type: ignore[arg-type]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


LASTING = tuple(name for option in OPTIONS if option.lasting for name in option.fields)
"""Fields that the record keeps, since the boot-time unit goes on doing what they say."""


def to_json(settings: Settings) -> dict[str, object]:
    """Select the lasting settings, for the record."""
    document = {name: getattr(settings, name) for name in LASTING}
    document["parallel_pull"] = dict(settings.parallel_pull)
    if settings.decompressor_args is not None:
        document["decompressor_args"] = list(settings.decompressor_args)
    return document


def from_json(document: Mapping[str, object], command: str) -> Settings:
    """Settings with what a record kept, defaults for the rest.

    Raises:
        StateError: a value is not one that ``to_json`` writes.
    """
    values = {name: document[name] for name in LASTING if name in document}
    args, pull = values.get("decompressor_args"), values.get("parallel_pull", {})
    try:
        if not isinstance(pull, Mapping):
            raise ValueError(f"parallel_pull: found {pull!r}, expected an object")
        values["parallel_pull"] = {key: soci_rules.validate_key(key, value) for key, value in pull.items()}
        if args is not None:
            values["decompressor_args"] = soci_rules.validate_key(GZIP_ARGS_KEY, args)
        for option in OPTIONS:
            if values.get(option.attribute) is not None:
                values[option.attribute] = option.parse(values[option.attribute])
    except ValueError as error:
        raise StateError(
            "the record's settings can't be read",
            found=str(error),
            expected="what install wrote",
            remedy="run install again",
        ) from error
    return Settings(command, **values, given=frozenset(values))  # type: ignore[arg-type]
