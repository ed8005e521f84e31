from __future__ import annotations

import sys

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from soci_bootstrap.configfiles import containerd_text
from soci_bootstrap.configfiles.containerd_text import KEY, TABLES
from tests.support.nodes import captured

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

V3, V2 = TABLES


def swap(text: str) -> str:
    return containerd_text.replace(text, KEY, TABLES, "soci", "overlayfs")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'soci'\n", "= 'overlayfs'"),
        ('[plugins."io.containerd.cri.v1.images"]\nsnapshotter="soci"', '="overlayfs"'),
        (
            '[plugins."io.containerd.grpc.v1.cri".containerd]\n  snapshotter = "soci"  # mine\n',
            '"overlayfs"  # mine',
        ),
        ("[ plugins . 'io.containerd.cri.v1.images' ] # x\r\nsnapshotter = 'soci'\r\n", "'overlayfs'\r\n"),
        ("[plugins]\n'io.containerd.cri.v1.images'.snapshotter = 'soci'\n", "= 'overlayfs'"),
        ("plugins.'io.containerd.cri.v1.images'.snapshotter = 'soci'\n", "= 'overlayfs'"),
        ("[plugins.'io.containerd.grpc.v1.cri']\ncontainerd.snapshotter = 'soci'\n", "= 'overlayfs'"),
        ("[plugins.'io.containerd.cri.v1.images']\n'snapshotter' = 'soci'\n", "= 'overlayfs'"),
        (
            "x = '''\n[a]\n'''\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'soci'\n",
            "= 'overlayfs'",
        ),
        # Quotes and brackets inside of strings open nothing.
        (
            "x = \"it'''s [\"\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'soci'\n",
            "= 'overlayfs'",
        ),
        ("x = 1 # '''\n[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'soci'\n", "= 'overlayfs'"),
        ('x = """a"""\n[plugins."io.containerd.cri.v1.images"]\nsnapshotter = "soci"\n', '= "overlayfs"'),
        (
            "x = [\n ['a'],\n ['b']\n]\nplugins.'io.containerd.cri.v1.images'.snapshotter = 'soci'\n",
            "= 'overlayfs'",
        ),
    ],
)
def test_replaced(before, after) -> None:
    found = swap(before)
    assert after in found
    assert len(found) == len(before) + len("overlayfs") - len("soci")
    assert swap(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "snapshotter = 'soci'\n",
        "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'overlayfs'\n",
        "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = 'sociable'\n",
        "[plugins.'io.containerd.cri.v1.images']\n#snapshotter = 'soci'\n",
        "[plugins.'io.containerd.cri.v1.images']\nsnapshotter = ['soci']\n",
        "[plugins.'io.containerd.cri.v1.images']\n[other]\nsnapshotter = 'soci'\n",
        "[plugins.'io.containerd.cri.v1.images']\n[[other]]\nsnapshotter = 'soci'\n",
        "[[plugins.'io.containerd.cri.v1.images']]\nsnapshotter = 'soci'\n",
        "[plugins.'io.containerd.cri.v1.images'.x]\nsnapshotter = 'soci'\n",
        "[plugins.'io.containerd.cri.v1.images']\nx = '''\nsnapshotter = 'soci'\n'''\n",
        "[plugins.'io.containerd.cri.v1.images']\nx = [\n'''\nsnapshotter = 'soci'\n''']\n",
        "[plugins.\"io\\u002econtainerd.cri.v1.images\"]\nsnapshotter = 'soci'\n",
        "[proxy_plugins.soci]\ntype = 'snapshot'\n",
    ],
)
def test_left_alone(text) -> None:
    assert swap(text) == text


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("containerd-nodeadm-v3.toml", []),
        ("containerd-nodeadm-static-soci.toml", ["soci"]),
        ("containerd-nodeadm-user-v2-migrated.toml", ["overlayfs"]),
    ],
)
def test_what_nodeadm_wrote(name, found) -> None:
    text = captured(name).decode()
    assert containerd_text.values(text, KEY, TABLES) == found
    wanted = tomllib.loads(text)
    if found:
        wanted["plugins"]["io.containerd.cri.v1.images"]["snapshotter"] = "overlayfs"
    assert tomllib.loads(swap(text)) == wanted
    lines = zip(text.split("\n"), swap(text).split("\n"))
    assert [before for before, after in lines if before != after] == (
        ["    snapshotter = 'soci'"] if found == ["soci"] else []
    )


NAMES = st.one_of(
    st.sampled_from(
        [
            "plugins",
            "io.containerd.cri.v1.images",
            "io.containerd.grpc.v1.cri",
            "containerd",
            "snapshotter",
            "registry",
        ]
    ),
    st.text(max_size=4),
)
WORDS = st.one_of(
    st.sampled_from(
        ["soci", "overlayfs", "snapshotter = 'soci'", "[plugins]", "'''", '"""', "\u2028[x]\u2028"]
    ),
    st.text(max_size=8),
)
SCALARS = st.one_of(WORDS, st.integers(), st.booleans(), st.lists(WORDS, max_size=3))
DOCUMENTS = st.recursive(
    st.dictionaries(NAMES, SCALARS, max_size=4),
    lambda below: st.dictionaries(NAMES, st.one_of(SCALARS, below, st.lists(below, max_size=2)), max_size=4),
    max_leaves=12,
)
SETTINGS = st.dictionaries(st.sampled_from(["snapshotter", "a", "b.c"]), SCALARS, max_size=3)


def swapped(document: dict) -> dict:
    """The same, by a parser's idea of the document."""
    for path in TABLES:
        table = document
        for name in path:
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict) and table.get(KEY) == "soci":
            table[KEY] = "overlayfs"
    return document


@given(DOCUMENTS, SETTINGS, SETTINGS)
def test_as_a_parser_sees_it(document, v3, v2) -> None:
    document = {
        **document,
        "plugins": {V3[1]: v3, "other": document, V2[1]: {"containerd": v2, "snapshotter": "soci"}},
    }
    text = tomli_w.dumps(document)
    assert tomllib.loads(swap(text)) == swapped(tomllib.loads(text))


LINES = st.sampled_from(
    [
        "[plugins.'io.containerd.cri.v1.images']",
        "snapshotter = 'soci'",
        "x = '''",
        "'''",
        "[",
        "]",
        "[[a]]",
        "\r",
        "=",
    ]
)


@given(st.lists(st.one_of(LINES, st.text(max_size=5))))
def test_any_text(lines) -> None:
    text = "\n".join(lines)
    after = swap(text).split("\n")
    changed = [(a, b) for a, b in zip(text.split("\n"), after) if a != b]
    assert len(after) == text.count("\n") + 1
    assert set(changed) <= {("snapshotter = 'soci'", "snapshotter = 'overlayfs'")}
