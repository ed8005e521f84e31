"""The rules of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from soci_bootstrap import paths

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "soci_bootstrap"
MODULES = sorted(PACKAGE.rglob("*.py"))
HELPERS = sorted(path for path in (ROOT / "tests").rglob("*.py") if not path.name.startswith("test_"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()

KNOWN = {
    value
    for name, value in vars(paths).items()
    if name.isupper() and isinstance(value, str) and re.fullmatch(r"/[^: ]+|[\w-]+\.\w+", value)
}
"""The paths, and the names of units and files, that ``paths`` has a name for."""


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Strings that stand alone: of modules, classes, functions and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def strings(path: Path) -> Iterator[str]:
    """All other strings, and the literal parts of formatted ones."""
    tree = ast.parse(path.read_text())
    spoken = set(docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in spoken:
            yield node.value


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_has_more_than_300_lines() -> None:
    assert {relative(path) for path in MODULES + HELPERS if path.read_text().count("\n") > 300} == set()


def test_the_package_has_at_most_22_entries() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 22


def test_each_folder_says_what_the_listing_says() -> None:
    listed = dict(re.findall(r"^  (\w+)/ +(\S.*)$", CONTRIBUTING, re.MULTILINE))
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(listed) == folders
    for folder, text in listed.items():
        if folder != "data":  # files, not modules
            first = (PACKAGE / folder / "__init__.py").read_text().split("\n")[0]
            assert first.strip('".').lower() == text.lower(), folder


def test_the_listing_has_every_file_at_the_top() -> None:
    line = next(line for line in CONTRIBUTING.splitlines() if line.startswith("  errors.py"))
    assert set(line.split()) == {path.name for path in PACKAGE.glob("*.py")}


def test_paths_and_unit_names_stand_in_paths_alone() -> None:
    found = {
        f"{relative(path)}: {text}"
        for path in MODULES
        if path != PACKAGE / "paths.py"
        for text in strings(path)
        if text in KNOWN or text.startswith(tuple(f"{known}/" for known in KNOWN if known.startswith("/")))
    }
    assert found == set()


def test_no_docstring_begins_with_a_question() -> None:
    found = {
        f"{relative(path)}:{text.lineno}: {str(text.value).splitlines()[0]}"
        for path in MODULES
        for text in docstrings(ast.parse(path.read_text()))
        if re.match(r"(What|Whether|Whose)\b", str(text.value))
    }
    assert found == set()


def test_every_file_that_contributing_names_is_there() -> None:
    for name in re.findall(r"`([\w/]+/[\w./]*|\w+\.(?:py|sh|md))`", CONTRIBUTING):
        places = [ROOT / name, PACKAGE / name, ROOT / "scripts" / name]
        assert name.split("/")[0] == "dist" or any(place.exists() for place in places), name
