"""What a node, its user or its disk may hand us to read, and what must become of an install there.

Each case is files (and perhaps variables and options) on top of ``NODE`` or ``DIRECT``, or on top of
a finished install.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

Content = Union[bytes, str, None]
"""A file's bytes; ``-> target`` a link, ``DIRECTORY`` and ``FIFO`` these, None for not there."""
DIRECTORY, FIFO = "(directory)", "(fifo)"

SETTINGS = "/etc/soci-bootstrap/config.toml"
CACHE = "/run/eks/nodeadm/config.json"
CONTAINERD = "/etc/containerd/config.toml"
KUBELET = "/etc/kubernetes/kubelet/config.json"
VERSION = "/etc/eks/containerd-version.txt"
PAUSE = "/etc/eks/pause.tar"
STATE = "/var/lib/soci-bootstrap"
RECORD, HOOKS = f"{STATE}/record.json", f"{STATE}/state.json"
BLOBS = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256"
CERTS = "/etc/containerd/certs.d"
_UNITS = "/usr/lib/systemd/system"

_V3 = '[plugins."io.containerd.cri.v1.images"]\n'
_REGISTRY = "version = 3\n" + _V3[:-2] + f'.registry]\nconfig_path = "{CERTS}"\n'
DIRECT: Mapping[str, Content] = {
    VERSION: "containerd github.com/containerd/containerd/v2 2.2.6 8bba4b5\n",
    f"{_UNITS}/containerd.service": "[Service]\nExecStart=/usr/bin/containerd\n",
    f"{_UNITS}/kubelet.service": f"[Service]\nExecStart=/usr/bin/kubelet --config {KUBELET}\n",
    CONTAINERD: 'version = 3\nroot = "/var/lib/containerd"\n' + _V3 + "users_own = 1\n",
    KUBELET: '{"kind": "KubeletConfiguration", "maxPods": 42}\n',
}
"""A node whose containerd and kubelet we merge into."""
NODE: Mapping[str, Content] = {
    **DIRECT,
    f"{_UNITS}/nodeadm-run.service": "[Service]\nExecStart=/usr/bin/nodeadm init --config-source file:///etc/eks/nodeadm.d\n",
    "/etc/eks/nodeadm.d": DIRECTORY,
    CACHE: '{"spec": {"containerd": {}, "kubelet": {"config": {"maxPods": 42}}}}',
}
"""A node of an EKS AMI that reads nodeadm.d."""


@dataclass(frozen=True)
class Case:
    """One input; ``problem`` is what the refusal must say, None where install must succeed."""

    name: str
    problem: str | None
    files: Mapping[str, Content] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    base: Mapping[str, Content] = field(default_factory=lambda: NODE)
    installed: bool = False
    """The files go on top of a finished install."""
    edits: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """On top of a finished install: what to overwrite in these JSON documents, by dotted key."""


def _settings(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"settings: {name}", problem, {SETTINGS: text})


def _environ(name: str, problem: str | None, **variables: str) -> Case:
    named = {f"SOCI_BOOTSTRAP_{key}": value for key, value in variables.items()}
    return Case(f"environment: {name}", problem, environ=named)


def _cache(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"NodeConfig: {name}", problem, {CACHE: text})


def _user_toml(name: str, toml: str, problem: str | None) -> Case:
    return _cache(name, json.dumps({"spec": {"containerd": {"config": toml}}}), problem)


def _containerd(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"containerd: {name}", problem, {CONTAINERD: text}, base=DIRECT)


def _kubelet(name: str, text: Content, problem: str | None) -> Case:
    return Case(f"kubelet: {name}", problem, {KUBELET: text}, base=DIRECT)


def _unit(name: str, unit: str, text: Content, problem: str | None = None) -> Case:
    return Case(f"unit: {name}", problem, {f"{_UNITS}/{unit}": text}, base=DIRECT)


def _certs(name: str, files: Mapping[str, Content], config: str = _REGISTRY) -> Case:
    below = {f"{CERTS}/{path}": text for path, text in files.items()}
    return Case(f"registries: {name}", None, {CONTAINERD: config, **below}, base=DIRECT)


def _record(name: str, problem: str | None, **edits: object) -> Case:
    return Case(f"record: {name}", problem, installed=True, edits={RECORD: edits})


def _wired(address: object, root: object = "/var/lib/containerd/soci") -> str:
    """The published recipe, with these."""
    return (
        f'{_V3}snapshotter = "soci"\n[proxy_plugins.soci]\ntype = "snapshot"\n'
        f"address = {json.dumps(address)}\n[proxy_plugins.soci.exports]\nroot = {json.dumps(root)}\n"
    )


DEEP = 20_000
"""Levels, above what any of the readers can recurse into."""
DIGITS = "9" * 5000
LIMITS_DIGITS = hasattr(sys, "get_int_max_str_digits")
"""Whether this Python refuses to read such a number; an older one takes it for what it is."""
"""More than the interpreter turns into a number."""
_ENTRY = {"kind": "absent"}

CASES: tuple[Case, ...] = (
    # Settings.
    _settings("empty", "", None),
    _settings("a comment", "# nothing\n", None),
    _settings("Windows line ends", 'wiring = "auto"\r\n[set]\r\nmax_concurrent_unpacks = 8\r\n', None),
    _settings("not TOML", "wiring: auto\n", "expected a TOML document"),
    _settings("not UTF-8", b'mirror = "\xff\xfe"\n', "expected a TOML document"),
    _settings("NULs", b"\0" * 600, "expected a TOML document"),
    _settings("half a file", 'wiring = "au', "expected a TOML document"),
    _settings("twice the same key", "force = true\nforce = false\n", "expected a TOML document"),
    _settings("nested too deep", f"force = {'[' * DEEP}{']' * DEEP}\n", "expected a TOML document"),
    _settings("number of 5,000 digits", f"deadline = {DIGITS}\n", "expected"),
    _settings("number of 5,000 hex digits", f"deadline = 0x{'f' * 5000}\n", "more than 64 bits"),
    _settings("number beyond any float", f"deadline = {'9' * 400}\n", "more than 64 bits"),
    _settings("no number", "deadline = nan\n", "deadline: found nan"),
    _settings("infinity", "deadline = inf\n", "deadline: found inf"),
    _settings("negative", "deadline = -1\n", "deadline: found -1"),
    _settings("true for a number", "deadline = true\n", "deadline: found True"),
    _settings("number for text", "mirror = 7\n", "mirror: found 7"),
    _settings("list for text", 'wiring = ["auto"]\n', "wiring: found"),
    _settings("table for text", "[wiring]\nauto = true\n", "wiring: found"),
    _settings("date for text", "soci-version = 1979-05-27\n", "soci-version: found"),
    _settings("unknown name", "wirring = 'auto'\n", "wirring: no such setting"),
    _settings("name with escapes", '"\\u001b[31m" = 1\n', "no such setting"),
    _settings("text for [set]", 'set = "enable"\n', "expected a table"),
    _settings("unknown key in [set]", "[set]\nmax_conc = 1\n", "no parallel-pull key"),
    _settings("a chunk size that stops SOCI", '[set]\nconcurrent_download_chunk_size = "8MiB"\n', "16mb"),
    _settings("zero downloads", "[set]\nmax_concurrent_downloads = 0\n", "wait for ever"),
    _settings("huge in [set]", f"[set]\nmax_concurrent_downloads = {'9' * 18}\n", "found 999"),
    _settings("[set] nested deep", "[set" + ".a" * 200 + "]\nb = 1\n", "no parallel-pull key"),
    _settings("old version", 'soci-version = "0.10.0"\n', "no parallel pull"),
    _settings("digits of another script", 'soci-version = "\u0660.15.0"\n', "is not a SOCI version"),
    _settings("short digest", 'sha256 = "abc"\n', "64 hex digits"),
    _settings("mirror of another scheme", 'mirror = "gopher://x/y"\n', "expected https://"),
    _settings("relative decompressor", 'decompressor = "bin/igzip"\n', "absolute path"),
    _settings("decompressor with a NUL", 'decompressor = "/bin/\\u0000x"\n', "decompressor"),
    _settings("root that climbs", 'snapshotter-root = "/var/../etc"\n', "without"),
    _settings("root with a line feed", 'snapshotter-root = "/a\\nExecStart=/x"\n', "absolute path"),
    _settings("a directory", DIRECTORY, "can't be read"),
    _settings("a FIFO", FIFO, "can't be read"),
    _settings("a loop of links", "-> config.toml", "can't be read"),
    # Environment.
    _environ("unknown name", "no such setting", WIRRING="auto"),
    _environ("empty is not given", None, WIRING="", DEADLINE="", SET=""),
    _environ("no number", "DEADLINE: found 'soon'", DEADLINE="soon"),
    _environ("exponent", "DEADLINE: found '1e400'", DEADLINE="1e400"),
    _environ("digits of another script", "DEADLINE: found", DEADLINE="٣"),
    _environ("5,000 digits", "DEADLINE: found", DEADLINE=DIGITS),
    _environ("no digest", "64 hex digits", SHA256="deadbeef"),
    _environ("bytes that are no text", "WIRING: found", WIRING="\udcff"),
    _environ("neither true nor false", "FORCE: found", FORCE="perhaps"),
    _environ("no KEY=VALUE", "expected KEY=VALUE", SET="enable"),
    _environ("only commas", "expected KEY=VALUE", SET=",,,"),
    _environ("an open list", "expected", SET='decompress_streams.gzip.args=["-d'),
    _environ("a nested list", "expected", SET="decompress_streams.gzip.args=" + "[" * DEEP),
    _environ("a shell's own", "expected an absolute path", SNAPSHOTTER_ROOT="$(touch /tmp/owned)"),
    _environ("credentials of a bad mirror", "expected https://", MIRROR="ftp://user:hunter2@host/"),
    # NodeConfig.
    _cache("none", None, None),
    _cache("null in it", '{"spec": null}', None),
    _cache("lists in it", '{"spec": {"containerd": [], "kubelet": [1], "featureGates": "x"}}', None),
    _cache("numbers in it", '{"spec": {"containerd": {"config": 7}, "instance": 8}}', None),
    _cache("a gate that is text", '{"spec": {"featureGates": {"FastImagePull": "true"}}}', None),
    _cache("a strategy that is a list", '{"spec": {"instance": {"localStorage": {"strategy": [1]}}}}', None),
    _cache(
        "an endpoint that is a list", '{"spec": {"kubelet": {"config": {"imageServiceEndpoint": []}}}}', None
    ),
    _cache("a lone surrogate", '{"spec": {"containerd": {"config": "# \\ud800"}}}', None),
    _cache("a byte order mark", b'\xef\xbb\xbf{"spec": {}}', None),
    _cache("empty", "", "is not nodeadm's NodeConfig"),
    _cache("half of it", '{"spec": {"containerd"', "is not nodeadm's NodeConfig"),
    _cache("a list", "[]", "is not nodeadm's NodeConfig"),
    _cache("a word", "null", "is not nodeadm's NodeConfig"),
    _cache("YAML", "spec:\n  containerd: {}\n", "is not nodeadm's NodeConfig"),
    _cache("not UTF-8", b'{"spec": "\xff"}', "is not nodeadm's NodeConfig"),
    _cache("5,000 digits", f'{{"spec": {DIGITS}}}', "is not nodeadm's NodeConfig" if LIMITS_DIGITS else None),
    _cache("nested too deep", "[" * 100_000, "is not nodeadm's NodeConfig"),
    _cache("a directory", DIRECTORY, "can't be read"),
    _cache("a FIFO", FIFO, "can't be read"),
    _user_toml("user's TOML without SOCI is not ours to judge", "= broken", None),
    _user_toml("user's TOML with SOCI is broken", "soci = ", "is not TOML"),
    _user_toml("soci where it means nothing", 'soci = "soci"\n[plugins]\nx = "soci"\n', None),
    _user_toml("plugins is text", 'plugins = "soci"\n', None),
    _user_toml("static, as the recipe has it", _wired("/run/soci-snapshotter-grpc/s.sock"), None),
    _user_toml("static, address with a line feed", _wired("/run/s\nExecStart=/x"), "address"),
    _user_toml("static, relative address", _wired("s.sock"), "address"),
    _user_toml("static, address is a number", _wired(7), "address"),
    _user_toml("static, root with a line feed", _wired("/run/s.sock", "/var\nExecStart=/x"), "root"),
    _user_toml("static, root climbs", _wired("/run/s.sock", "/var/../../etc"), "root"),
    _user_toml("static, root is a table", _wired("/run/s.sock", {}).replace("{}", "{ a = 1 }"), "root"),
    _cache(
        "static, address with a lone surrogate",
        json.dumps({"spec": {"containerd": {"config": _wired("/run/ x")}}}).replace(" x", "\\ud800"),
        "address",
    ),
    # Other drop-ins of nodeadm's.
    Case("nodeadm.d: bytes", None, {"/etc/eks/nodeadm.d/10-user.yaml": bytes(range(256))}),
    Case("nodeadm.d: a directory", "can't be read", {"/etc/eks/nodeadm.d/10-user.yaml": DIRECTORY}),
    Case("nodeadm.d: leads nowhere", None, {"/etc/eks/nodeadm.d/10-user.yaml": "-> /absent"}),
    Case("nodeadm.d: a name with a line feed", None, {"/etc/eks/nodeadm.d/90-\n.json": '{"snapshotter": 1}'}),
    Case("nodeadm.d: the gate, over and over", None, {"/etc/eks/nodeadm.d/1.json": "FastImagePull" * 9999}),
    # containerd's own configuration, which we merge into.
    _containerd("none", None, None),
    _containerd("empty", "", None),
    _containerd("Windows line ends", 'version = 2\r\n[plugins."x"]\r\na = 1\r\n', None),
    _containerd(
        "dates, floats, inline tables", "version = 2\na = 1979-05-27T07:32:00Z\nb = {c = 1e3}\n", None
    ),
    _containerd("keys of other scripts", 'version = 2\n"ключ" = "значение"\n"" = 1\n', None),
    _containerd("an array of tables", "version = 2\n[[stream]]\na = 1\n[[stream]]\na = 2\n", None),
    _containerd("a root that is no path", "version = 2\nroot = 5\n", None),
    _containerd("64 bits", f"version = 2\na = {-(2**63)}\n", None),
    _containerd("65 bits", f"version = 2\na = {2**63}\n", "is not TOML"),
    _containerd("not TOML", "version: 2\n", "is not TOML"),
    _containerd("not UTF-8", b'version = 2\na = "\xff"\n', "is not TOML"),
    _containerd("UTF-16", "version = 2\n".encode("utf-16"), "is not TOML"),
    _containerd("a byte order mark", b"\xef\xbb\xbfversion = 2\n", "is not TOML"),
    _containerd("5,000 digits", f"version = 2\na = {DIGITS}\n", "is not TOML"),
    _containerd("5,000 hex digits", f"version = 2\na = 0x{'f' * 5000}\n", "is not TOML"),
    _containerd("nested too deep", f"version = 2\na = {'[' * DEEP}\n", "is not TOML"),
    _containerd("half a file", 'version = 2\n[plugins."io.conta', "is not TOML"),
    _containerd("schema 1", "[plugins.cri]\na = 1\n", "schema that we don't write"),
    _containerd("schema 4", "version = 4\n", "schema that we don't write"),
    _containerd("schema in quotes", 'version = "2"\n', "schema that we don't write"),
    _containerd("schema that is a list", "version = [2]\n", "schema that we don't write"),
    _containerd("schema that is true", "version = true\n", "schema that we don't write"),
    _containerd("plugins is text", 'version = 3\nplugins = "none"\n', "needs a table"),
    _containerd("plugins is an array", "version = 3\n[[plugins]]\na = 1\n", "needs a table"),
    _containerd(
        "a plugin is a number", 'version = 3\n[plugins]\n"io.containerd.cri.v1.images" = 1\n', "needs a table"
    ),
    _containerd("the proxy plugin is text", 'version = 3\n[proxy_plugins]\nsoci = "x"\n', "needs a table"),
    _containerd("a root with a line feed", 'version = 2\nroot = "/v\\nExecStart=/x"\n', "root"),
    _containerd("a root that climbs", 'version = 2\nroot = "/var/../../etc"\n', "root"),
    _containerd("a directory", DIRECTORY, "can't be read"),
    _containerd("a FIFO", FIFO, "can't be read"),
    _containerd("a link out of the image", "-> ../../../../../../etc/containerd/real.toml", None),
    _containerd("a loop of links", "-> config.toml", "containerd/config.toml"),
    # kubelet's.
    _kubelet("none", None, None),
    _kubelet("numbers beyond JSON's", '{"a": NaN, "b": -Infinity, "c": 1e999}', None),
    _kubelet("the same key twice", '{"maxPods": 1, "maxPods": 2}', None),
    _kubelet("an escaped surrogate", '{"a": "\\ud800"}', None),
    _kubelet("not JSON", "kind: KubeletConfiguration\n", "is not a JSON object"),
    _kubelet("blank", " ", "is not a JSON object"),
    _kubelet("a list", "[{}]", "is not a JSON object"),
    _kubelet("not UTF-8", b'{"a": "\xff"}', "is not a JSON object"),
    _kubelet("5,000 digits", f'{{"a": {DIGITS}}}', "is not a JSON object" if LIMITS_DIGITS else None),
    _kubelet("nested too deep", '{"a": ' + "[" * 100_000, "is not a JSON object"),
    _kubelet("a directory", DIRECTORY, "can't be read"),
    _kubelet("a FIFO", FIFO, "can't be read"),
    # Units and the files that they name.
    _unit("bytes", "containerd.service", bytes(range(256)) * 9),
    _unit("an open quote", "containerd.service", '[Service]\nExecStart=/bin/sh "\n'),
    _unit("a line that never ends", "containerd.service", "[Service]\nExecStart=x \\\n" * 3000),
    _unit(
        "--config without a file", "containerd.service", "[Service]\nExecStart=/usr/bin/containerd --config\n"
    ),
    _unit(
        "a relative --config", "containerd.service", "[Service]\nExecStart=/usr/bin/containerd -c a.toml\n"
    ),
    _unit(
        "kubelet: a relative --config", "kubelet.service", "[Service]\nExecStart=kubelet --config k.json\n"
    ),
    _unit(
        "kubelet: --config is a variable", "kubelet.service", "[Service]\nExecStart=k --config ${CONFIG}\n"
    ),
    _unit("kubelet: a relative --config-dir", "kubelet.service", "[Service]\nExecStart=k --config-dir d\n"),
    _unit(
        "kubelet: --config climbs", "kubelet.service", "[Service]\nExecStart=k --config /../../../k.json\n"
    ),
    _unit("kubelet: relative environment", "kubelet.service", "[Service]\nEnvironmentFile=-k.env\n"),
    _unit("a directory", "containerd.service", DIRECTORY, "can't be read"),
    Case("unit: its drop-ins are a file", None, {f"{_UNITS}/containerd.service.d": "x"}, base=DIRECT),
    # containerd's version.
    Case("version: none", None, {VERSION: None}),
    Case("version: bytes", None, {VERSION: bytes(range(256))}),
    Case("version: a shell's complaint", None, {VERSION: "sh: containerd: not found\n"}),
    Case("version: 5,000 digits", None, {VERSION: f"containerd {DIGITS}.{DIGITS}.1\n"}),
    # What containerd stores.
    Case("store: odd blobs", None, {f"{BLOBS}/\n": "x", f"{BLOBS}/..x": "{", f"{BLOBS}/{'f' * 200}": ""}),
    Case("store: a blob is a directory", None, {f"{BLOBS}/{'a' * 64}": DIRECTORY}),
    Case("store: a blob is a FIFO", None, {f"{BLOBS}/{'a' * 64}": FIFO}),
    Case("store: a blob leads out", None, {f"{BLOBS}/{'a' * 64}": "-> /../../../etc/shadow"}),
    Case("store: JSON nested too deep", None, {f"{BLOBS}/{'a' * 64}": "[" * 100_000}),
    Case("store: pause is no archive", None, {PAUSE: b"\x1f\x8b" + bytes(600), f"{BLOBS}/a": "x"}),
    Case("store: pause is half an archive", None, {PAUSE: b"a".ljust(300, b"x"), f"{BLOBS}/a": "x"}),
    # Registries with ways of their own.
    _certs(
        "an endpoint is a number", {}, "version = 3\n" + _V3[:-2] + ".registry.mirrors.x]\nendpoint = 5\n"
    ),
    _certs(
        "a path is a list",
        {"x/hosts.toml": ""},
        "version = 3\n" + _V3[:-2] + '.registry]\nconfig_path = ["/a"]\n',
    ),
    _certs("a directory that is no host", {"[x/hosts.toml": 'server = "https://y"\n'}),
    _certs("a port that is none", {"x:99999/hosts.toml": 'server = "https://y"\n'}),
    _certs("a port of letters", {"x:y/hosts.toml": 'server = "https://y:z"\n'}),
    _certs("hosts.toml is bytes", {"x/hosts.toml": bytes(range(256))}),
    _certs(
        "hosts.toml is tables all over", {"x/hosts.toml": "[host]\nx = 1\n[server]\ny = 2\n[ca]\nz = 3\n"}
    ),
    # Our own records.
    Case("record: empty", "can't be used", {RECORD: ""}, installed=True),
    Case("record: half of it", "can't be used", {RECORD: '{"schema": 1, "man'}, installed=True),
    Case("record: a list", "can't be used", {RECORD: "[]"}, installed=True),
    Case("record: bytes", "can't be used", {RECORD: bytes(range(256))}, installed=True),
    Case("record: nested too deep", "can't be used", {RECORD: "[" * 100_000}, installed=True),
    _record("of a newer version", "can't be used", schema=2),
    _record("unknown keys", None, zukunft=1),
    _record("managed is a list", "can't be used", managed=[]),
    _record("managed without a kind", "can't be used", managed={"/x": {}}),
    _record("managed at a relative path", "can't be used", managed={"x": {"kind": "file"}}),
    _record("managed at a path that climbs", "can't be used", managed={"/a/../b": {"kind": "file"}}),
    _record("managed by a number", "can't be used", managed={"/x": {"kind": "file", "sha256": 7}}),
    _record("before is text", "can't be used", before="x"),
    _record(
        "before with an unknown key", "can't be used", before={"/x": {"entry": {"art": 1}, "backup": ""}}
    ),
    _record(
        "backup outside", "can't be used", before={"/x": {"entry": {"kind": "file"}, "backup": "/etc/shadow"}}
    ),
    _record("binary is a list", "can't be used", binary=["x"]),
    _record("binary of text sizes", "can't be used", **{"binary.size": "7"}),
    _record("directories is text", "can't be used", directories="/etc"),
    _record("directories are numbers", "can't be used", directories=[1]),
    _record("settings is a number", "can't be used", settings=7),
    _record("wiring is a list", "can't be used", wiring=["x"]),
    _record("excluded holds numbers", "can't be used", excluded=[1]),
    _record("registries is a list", "can't be used", registries=[1]),
    _record("outcome is a list", "can't be used", outcome=[]),
    Case("state: bytes", None, {HOOKS: bytes(range(256))}, installed=True),
    Case("state: a list", None, {HOOKS: "[]"}, installed=True),
    Case("state: numbers", None, {HOOKS: '{"degraded": 7, "snapshotter": []}'}, installed=True),
    Case("state: nested too deep", None, {HOOKS: "[" * 100_000}, installed=True),
)
