"""What runs as root, and what writes, is what SECURITY.md lists: nothing less, nothing more."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "soci_bootstrap"
MODULES = {
    str(path.relative_to(PACKAGE))[:-3].replace("/", ".").removesuffix(".__init__"): ast.parse(
        path.read_text()
    )
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "_build.py"
}
STARTS = re.compile(
    r"subprocess\.(run|Popen|call|check_call|check_output)|os\.(posix_spawnp?|exec\w+|fork\w*|spawn\w+)"
)
WRITES = re.compile(
    r"os\.(rename|replace|unlink|remove|rmdir|removedirs|mkdir|makedirs|link|symlink|mkfifo|mknod|truncate|ftruncate"
    r"|write|pwrite|sendfile|f?chmod|[fl]?chown|setxattr|posix_fallocate)|shutil\.\w+|Path\.\w*write\w*|tempfile\.\w+"
)
FORBIDDEN = re.compile(
    r"eval|exec|compile|__import__|os\.(system|popen|startfile)|pty\.\w+|subprocess\.getoutput|subprocess\.getstatusoutput"
    r"|pickle\.\w+|marshal\.\w+|shelve\.\w+|yaml\.\w+|ctypes\.\w+|tempfile\.\w+|logging\.\w+|tarfile\.\w*extractall"
)
SIGNALS = re.compile(r"os\.(kill|killpg)")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
            yield ast.unparse(node.func), node


def opens_for_writing(name: str, call: ast.Call) -> bool:
    said = " ".join(ast.unparse(argument) for argument in (*call.args[1:], *(k.value for k in call.keywords)))
    if name == "open":
        mode = ast.unparse(call.args[1]) if len(call.args) > 1 else "'r'"
        return bool(re.search(r"[wax+]", mode)) if mode[0] in "'\"" else True
    # Flags in a variable might be any.
    return name == "os.open" and not re.fullmatch(
        r"(os\.O_(RDONLY|NONBLOCK|CLOEXEC|DIRECTORY|NOFOLLOW)( \| )?)+", said
    )


def doing(pattern: re.Pattern[str]) -> set[str]:
    return {
        module for module, tree in MODULES.items() if any(pattern.fullmatch(name) for name, _ in calls(tree))
    }


def writing() -> set[str]:
    return doing(WRITES) | {
        module for module, tree in MODULES.items() if any(opens_for_writing(*call) for call in calls(tree))
    }


def listed(heading: str) -> set[str]:
    """The first column of the table below a heading of SECURITY.md."""
    text = (ROOT / "SECURITY.md").read_text().partition(f"### {heading}\n")[2].partition("\n#")[0]
    return {row.split("|")[1].strip(" `") for row in text.splitlines() if row.startswith("| `")}


def test_what_starts_programs_is_listed() -> None:
    assert doing(STARTS) == listed("What starts programs")


def test_what_writes_is_listed() -> None:
    assert writing() == listed("What writes without going through `system`")


def test_what_the_units_run_is_listed() -> None:
    run = set()
    for unit in sorted((ROOT / "systemd").rglob("*.*")):
        if unit.is_file():
            run |= {
                line.partition("=")[0] for line in unit.read_text().splitlines() if line.startswith("Exec")
            }
            name = str(unit.relative_to(ROOT / "systemd"))
            assert ("Exec" not in unit.read_text()) or name in listed("What systemd runs"), name
    assert run


@pytest.mark.parametrize("module", MODULES)
def test_no_shell_and_no_code_from_data(module: str) -> None:
    for name, call in calls(MODULES[module]):
        assert not FORBIDDEN.fullmatch(name), f"line {call.lineno}: {name}"
        for keyword in call.keywords:
            assert keyword.arg != "shell", f"line {call.lineno}: shell="
            assert keyword.arg != "verify" or ast.unparse(keyword.value) != "False", "TLS unchecked"


@pytest.mark.parametrize("module", MODULES)
def test_nothing_in_a_place_that_others_write_to(module: str) -> None:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(MODULES[module])
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            # A user's own choice in an example: `--bundle` makes a new file there or none.
            said = node.value.replace("--bundle /tmp/", "--bundle ")
            assert not re.search(r"/tmp\b|/dev/shm", said), node.lineno


def test_argument_vectors_are_never_one_string() -> None:
    for module in sorted(doing(STARTS)):
        for name, call in calls(MODULES[module]):
            if STARTS.fullmatch(name):
                first = call.args[1 if name.startswith("os.") else 0]
                assert not isinstance(first, (ast.JoinedStr, ast.Constant)), f"{module}: {ast.unparse(call)}"


if __name__ == "__main__":
    print(sorted(doing(STARTS)), sorted(writing()), sep="\n")  # noqa: T201
