"""Every small wrong change to a module, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_Definition = (ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Mutant:
    """One wrong module: its syntax tree, and what is wrong with it where."""

    line: int
    what: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """All of them, in the order of the source."""
    tree = ast.parse(source)
    nodes = list(_relevant(tree))
    for index, node in enumerate(nodes):
        for number in range(len(list(_changes(node)))):
            wrong = copy.deepcopy(tree)
            place = list(_relevant(wrong))[index]
            changed, what = list(_changes(place))[number]
            line = getattr(place, "lineno", 0)
            if changed is not place:
                _Replace(place, changed).visit(wrong)
            yield Mutant(line, what, ast.fix_missing_locations(wrong))


def _relevant(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that do something: no annotations, decorators, docstrings, nor the words of errors."""
    for field, value in ast.iter_fields(tree):
        if field in {"annotation", "returns", "decorator_list", "type_comment", "type_params"}:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or _is_text(node):
                continue
            yield node
            if isinstance(node, ast.Raise):
                continue
            yield from _relevant(node)


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name):
        return node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("TypeVar("):
        return True
    return isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom))


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST | None, str]]:
    """What the node could become instead, and how to say it; it may be changed in place."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARISONS:
        other = _COMPARISONS[type(node.ops[0])]()
        yield ast.Compare(node.left, [other], node.comparators), f"{_said(node)}: {type(other).__name__}"
    elif isinstance(node, ast.BoolOp):
        other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.BoolOp(other_op, node.values), f"{_said(node)}: {type(other_op).__name__}"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand, f"{_said(node)}: without not"
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        operator = _OPERATORS[type(node.op)]()
        yield ast.BinOp(node.left, operator, node.right), f"{_said(node)}: {type(operator).__name__}"
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, (ast.If, ast.IfExp)):
        if not isinstance(node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            test = ast.UnaryOp(ast.Not(), node.test)
            yield type(node)(test, node.body, node.orelse), f"if {_said(node.test)}: negated"
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None)), f"{_said(node)}: returns None"
    elif isinstance(node, (ast.Raise, ast.AugAssign, ast.Continue, ast.Break)) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ):
        yield ast.Pass(), f"{_said(node)}: removed"


def _constants(node: ast.Constant) -> Iterator[tuple[ast.AST, str]]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value), f"{value}: {not value}"
    elif isinstance(value, int):
        yield ast.Constant(value + 1), f"{value}: {value + 1}"
    elif isinstance(value, str) and value.isprintable() and " " not in value:
        # What has blanks is written for people, and no test repeats it.
        yield ast.Constant(f"{value}?"), f"{value!r}: with ? after it"
    elif isinstance(value, bytes):
        yield ast.Constant(value + b"?"), f"{value!r}: with ? after it"


def _said(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) < 70 else text[:69] + "…"


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST | None) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST | None:
        return self._new if node is self._old else self.generic_visit(node)
