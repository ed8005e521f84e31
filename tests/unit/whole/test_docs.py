"""The guides say only what the command line takes, render what they show, and link to what exists."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from soci_bootstrap import settings
from soci_bootstrap.cli.commands.render import run
from soci_bootstrap.configfiles.soci import Decompressor
from soci_bootstrap.facts.machine import Machine
from soci_bootstrap.plan.tuning import tune
from soci_bootstrap.settings.commands import COMMANDS, KINDS
from soci_bootstrap.settings.options import OPTIONS
from soci_bootstrap.system import resources
from soci_bootstrap.system.console import Console
from tests.support.render_requests import DIGEST, NODE_CONFIG, STUB

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> Iterator[str]:
    for indent, kind, body in BLOCK.findall(page.read_text()):
        if kind == language:
            yield "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text())


def shell_lines() -> list[tuple[str, list[str]]]:
    """Every command line that a guide shows: words up to a comment, a redirection or a pipe."""
    found = []
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                for end in (">", "|"):
                    words = words[: words.index(end)] if end in words else words
                if words:
                    found.append((page.name, words))
    return found


def our_arguments(words: list[str]) -> list[str] | None:
    """Our own program's arguments, None for another's command line."""
    words = words[1:] if words[0] == "sudo" else words
    if words[0] == "soci-bootstrap":
        return words[1:]
    if words[0] == "python3" and words[1].endswith("soci-bootstrap.pyz"):
        return words[2:]
    return None


OURS = [(name, found) for name, words in shell_lines() if (found := our_arguments(words)) is not None]


@pytest.fixture
def _node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with what the guides' command lines read."""
    (tmp_path / "node-config.yaml").write_text(NODE_CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resources, "read", {"bootstrap.sh": STUB.encode()}.__getitem__)


def load(argv: list[str]) -> settings.Settings:
    def read_file(path: str) -> bytes:
        raise FileNotFoundError(path)

    return settings.load(argv, {}, read_file)


@pytest.mark.usefixtures("_node")
@pytest.mark.parametrize(("page", "argv"), OURS, ids=[f"{page}: {' '.join(argv)}" for page, argv in OURS])
def test_every_command_line_is_taken_and_every_rendering_renders(
    page: str, argv: list[str], tmp_path: Path
) -> None:
    argv = [str(tmp_path) if word == "/mnt" else word for word in argv]
    loaded = load(argv)
    assert loaded.command == argv[0]
    if loaded.command == "render":
        assert run(load([*argv, "--zipapp-sha256", DIGEST]), Console(stream=io.StringIO())).text


def test_the_guides_show_every_kind_of_document() -> None:
    assert {argv[1] for _, argv in OURS if argv[0] == "render"} == set(KINDS)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_option_in_prose_exists(page: Path) -> None:
    known = {option.flag for option in OPTIONS}
    foreign = {"--max-errors", "--config-dir"}  # the aws CLI's and kubelet's
    spans = re.findall(r"`([^`]+)`", prose(page))
    flags = {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span)}
    assert flags <= known | foreign


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.is_file(), target
        titles = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not anchor or anchor in anchors, target


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_yaml_json_and_hcl_block_parses(page: Path) -> None:
    import hcl2

    for block in blocks(page, "json"):
        assert json.loads(block)

    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)
    for block in blocks(page, "hcl"):
        assert hcl2.loads(block)


def test_the_readme_names_every_command_and_every_option_of_install() -> None:
    text = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert f"`{command.name}" in text or command.name in ("completion", "man"), command.name
    for option in OPTIONS:
        if "install" in option.commands:
            flag = f"-{option.short}" if option.short else option.flag
            assert f"`{flag}" in text, option.flag


def test_the_readme_and_the_index_link_every_guide() -> None:
    for guide in PAGES[1:]:
        if guide.name != "index.md":
            assert f"(docs/{guide.name})" in (ROOT / "README.md").read_text()
            assert f"({guide.name})" in (ROOT / "docs" / "index.md").read_text()


def test_every_script_in_the_readme_exists() -> None:
    for script in re.findall(r"scripts/\w+", (ROOT / "README.md").read_text()):
        assert (ROOT / script).is_file(), script


def test_the_guide_to_tuning_says_what_nodes_get() -> None:
    text = (ROOT / "docs/tuning.md").read_text()
    rows = re.findall(r"^\| (\d+), ([\d.]+) \| (\d+) \| (\d+) \| (-?\d+) \| (-?\d+) \|$", text, re.MULTILINE)
    assert len(rows) == text.count("\n| ") - 2
    for vcpus, gib, *told in rows:
        machine = Machine(int(vcpus), int(float(gib) * (1 << 30)))
        pull = tune(machine, Decompressor("none"), discard_unpacked_layers=True)
        assert [int(number) for number in told] == [
            pull.max_concurrent_downloads_per_image,
            pull.max_concurrent_unpacks_per_image,
            pull.max_concurrent_downloads,
            pull.max_concurrent_unpacks,
        ]
    for block in blocks(ROOT / "docs/tuning.md", "toml"):
        loaded = settings.load(["install"], {}, lambda _, data=block: data.encode())
        assert loaded.parallel_pull
