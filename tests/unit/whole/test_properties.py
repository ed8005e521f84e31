"""What holds for every node and all settings: from install through plan to rollback, on made-up nodes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from soci_bootstrap import settings
from soci_bootstrap.configfiles import soci_rules, toml
from soci_bootstrap.render.arguments import install_arguments
from soci_bootstrap.settings import Settings
from tests.support import trees
from tests.support.corpus import archives
from tests.support.corpus.node_files import CACHE, CONTAINERD, DIRECT, KUBELET, NODE
from tests.support.hostile import AGENT, lay, shape
from tests.support.results import install, plan, rollback

SHM = "/dev/shm"
"""Hundreds of installs, each of which syncs every file that it writes."""
EXAMPLES = hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

# -- nodes ------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
    st.lists(st.integers(0, 9), max_size=3),
)
KEYS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8),
    st.sampled_from(["plugins", "soci", "snapshotter", "containerd", "registry", "imageServiceEndpoint"]),
)
DOCUMENTS = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3),
    lambda below: st.dictionaries(KEYS, below, max_size=3),
    max_leaves=6,
)
PLUGINS = st.fixed_dictionaries(
    {},
    optional={
        "io.containerd.cri.v1.images": st.fixed_dictionaries(
            {}, optional={"snapshotter": st.sampled_from(["overlayfs", "soci"]), "theirs": SCALARS}
        ),
        "io.containerd.cri.v1.runtime": DOCUMENTS,
        "io.containerd.grpc.v1.cri": st.fixed_dictionaries(
            {}, optional={"containerd": DOCUMENTS, "x": SCALARS}
        ),
    },
)
CONFIGURATIONS = st.builds(
    lambda version, theirs, plugins: {"version": version, **theirs, "plugins": plugins},
    st.sampled_from([2, 3]),
    DOCUMENTS.map(
        lambda found: {key: found[key] for key in found if key not in {"plugins", "root", "registry"}}
    ),
    PLUGINS,
)
CACHES = st.fixed_dictionaries(
    {
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containerd": PLUGINS.map(lambda plugins: {"config": tomli_w.dumps({"plugins": plugins})}),
                "featureGates": st.fixed_dictionaries({"FastImagePull": st.booleans()}),
                "kubelet": st.fixed_dictionaries({"config": st.fixed_dictionaries({"maxPods": SCALARS})}),
            },
        )
    }
)
THEIRS = st.dictionaries(
    st.sampled_from(
        [
            "/usr/local/bin/soci-snapshotter-grpc",
            "/usr/local/sbin/soci-bootstrap",
            "/etc/soci-snapshotter-grpc/config.toml",
            "/etc/systemd/system/soci-snapshotter.service",
            "/etc/systemd/system/sockets.target.wants/soci-snapshotter.socket",
            "/etc/systemd/system/containerd.service.d/50-soci-bootstrap.conf",
            "/etc/systemd/system/containerd.service.d/10-soci-snapshotter.conf",
            "/etc/eks/nodeadm.d/90-user.yaml",
        ]
    ),
    st.tuples(
        st.sampled_from(
            ["", "# theirs\n", "[Service]\nExecStart=/theirs\n", "-> /dev/null", "-> /opt/theirs"]
        ),
        st.sampled_from([0o600, 0o644, 0o755, 0o4711]),
        st.sampled_from([0, 1000]),
    ),
    max_size=4,
)


@contextmanager
def made(
    direct: bool, containerd: dict[str, Any], cache: dict[str, Any], theirs: dict[str, Any]
) -> Iterator[Path]:
    """A node with these things of its user's on it."""
    root = Path(tempfile.mkdtemp(dir=SHM if os.access(SHM, os.W_OK) else None))
    try:
        lay(root, DIRECT if direct else {**NODE, CACHE: json.dumps(cache)})
        lay(root, {CONTAINERD: tomli_w.dumps(containerd)})
        for path, (content, mode, uid) in theirs.items():
            lay(root, {path: content})
            if os.geteuid() == 0:
                os.lchown(f"{root}{path}", uid, uid)
            if not os.path.islink(f"{root}{path}"):
                os.chmod(f"{root}{path}", mode)
        yield root
    finally:
        shutil.rmtree(root)


NODES = st.tuples(st.booleans(), CONFIGURATIONS, CACHES, THEIRS)

# -- settings ---------------------------------------------------------------------------------

LIMITS = st.one_of(st.just(-1), st.integers(1, soci_rules.MAX_LIMIT)).map(str)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "--decompressor": st.sampled_from(["auto", "none", "/opt/inflate"]),
        "--snapshotter-root": st.sampled_from(["/var/lib/soci", "/mnt/über/soci"]),
        "--wiring": st.sampled_from(["auto", "direct", "none"]),
        "--set": st.one_of(
            LIMITS.map("max_concurrent_downloads_per_image={}".format),
            LIMITS.map("max_concurrent_unpacks_per_image={}".format),
            st.integers(1, 4000).map("concurrent_download_chunk_size={}mb".format),
            st.sampled_from(["discard_unpacked_layers=false", "enable=no"]),
        ),
    },
)


def words(options: dict[str, str]) -> list[str]:
    return [word for flag, value in options.items() for word in (flag, value)]


def load(command: str, root: Path, *more: str) -> Settings:
    tarball, digest = _RELEASE
    line = ["--root", str(root), "--arch", "amd64"] if command != "rollback" else ["--root", str(root)]
    if command != "rollback":
        line += ["--tarball", tarball, "--sha256", digest]
    return trees.settings(command, *line, *more)  # type: ignore[return-value]


@pytest.fixture(autouse=True, scope="module")
def _release(tmp_path_factory) -> Iterator[None]:
    global _RELEASE  # noqa: PLW0603
    _RELEASE = trees.archive(tmp_path_factory.mktemp("release") / "soci.tar.gz", archives.PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(install.module.resources, "agent_bytes", lambda: AGENT)
        yield


_RELEASE = ("", "")


def installed(root: Path, options: dict[str, str]) -> str:
    done = install.run(load("install", root, *words(options)), trees.QUIET)
    return done.outcome if done.exit_status == 0 else f"refused: {done.reason}"


# -- properties -------------------------------------------------------------------------------


@EXAMPLES
@given(node=NODES, options=OPTIONS)
def test_what_was_installed_is_what_plan_wants(node, options) -> None:
    with made(*node) as root:
        before = shape(root)
        if installed(root, options).startswith("refused: "):
            assert shape(root) == before
            return
        planned = plan.run(load("plan", root, *words(options)), trees.QUIET)
        assert planned.pending == ()
        assert installed(root, options) == "unchanged"


@EXAMPLES
@given(node=NODES, options=OPTIONS)
def test_no_key_of_the_users_is_lost(node, options) -> None:
    with made(*node) as root:
        kubelet = json.loads(Path(f"{root}{KUBELET}").read_text())
        installed(root, options)
        after = toml.loads(Path(f"{root}{CONTAINERD}").read_bytes(), "after")
        _kept(node[1], after, ())
        _kept(kubelet, json.loads(Path(f"{root}{KUBELET}").read_text()), ())
        if not node[0] and options.get("--wiring") != "direct":
            assert node[1] == after, "where nodeadm owns the file, nobody else writes it"


def _kept(before: Any, after: Any, path: tuple[str, ...]) -> None:
    ours = {
        ("plugins", "io.containerd.cri.v1.images", "snapshotter"),
        ("plugins", "io.containerd.cri.v1.images", "disable_snapshot_annotations"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd", "snapshotter"),
        ("plugins", "io.containerd.grpc.v1.cri", "containerd", "disable_snapshot_annotations"),
        ("proxy_plugins", "soci", "address"),
        ("imageServiceEndpoint",),
    }
    if path in ours:
        return  # whatever stood there, a table too
    if isinstance(before, dict):
        for key, value in before.items():
            _kept(value, after[key], (*path, key))
    else:
        assert repr(after) == repr(before), path


@EXAMPLES
@given(node=NODES, runs=st.lists(OPTIONS, min_size=1, max_size=3))
def test_rollback_restores_every_byte(node, runs) -> None:
    with made(*node) as root:
        before = shape(root)
        for options in runs:
            installed(root, options)
        done = rollback.run(load("rollback", root), trees.QUIET)
        assert done.exit_status == 0, done.document
        assert shape(root) == before


DEADLINES = st.floats(0.001, 86_400).map(lambda seconds: f"{seconds:.9f}")


@given(options=OPTIONS, deadline=DEADLINES, force=st.booleans())
def test_rendered_arguments_are_the_settings_that_they_came_from(options, deadline, force) -> None:
    line = ["install", *words(options), "--deadline", deadline, *(["--force"] if force else [])]
    asked = settings.load(line, {}, _no_file)
    again = settings.load(["install", *install_arguments(asked)], {}, _no_file)
    for name in (*settings.LASTING, "deadline", "strict"):
        assert getattr(again, name) == getattr(asked, name), name


def _no_file(path: str) -> bytes:
    raise FileNotFoundError(path)
