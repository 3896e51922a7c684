"""The mutants of a Python file: each is one change of its syntax tree, compiled."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "amin": "amax", "amax": "amin", "argmin": "argmax", "argmax": "argmin", "clamp_min": "clamp_max",
    "clamp_max": "clamp_min", "minimum": "maximum", "maximum": "minimum", "any": "all", "all": "any", "sum": "mean", "mean": "sum",
    "fmin": "fmax", "fmax": "fmin",
}  # fmt: skip


class Mutant(NamedTuple):
    """number: its place among the file's mutants; line to end: of the changed expression; change: old → new, as text."""

    number: int
    line: int
    end: int
    kind: str
    change: str
    code: CodeType


def mutants(path: Path) -> list[Mutant]:
    """All mutants of a file, in the tree's order: the same file has the same ones."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[Mutant] = []
    for place, node in _nodes(tree):
        for kind, other in _others(node):
            ast.fix_missing_locations(ast.copy_location(other, node))
            place.put(other)
            code = compile(tree, str(path), "exec")
            place.put(node)
            change = f"{_short(ast.unparse(node))} → {_short(ast.unparse(other))}"
            line, end = node.lineno, node.end_lineno or node.lineno  # type: ignore[attr-defined]
            found.append(Mutant(len(found), line, end, kind, change, code))
    return found


class _Place(NamedTuple):
    """Where a node hangs: a field of its parent, or an item of a list in it."""

    parent: ast.AST
    field: str
    item: int | None

    def put(self, node: ast.AST) -> None:
        if self.item is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.item] = node


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 70 else f"{text[:34]} … {text[-34:]}"


def _nodes(node: ast.AST) -> Iterator[tuple[_Place, ast.AST]]:
    """What computes, with its place: no annotations, texts, messages or asserts."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, (ast.Assert, ast.Raise, ast.JoinedStr)) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            yield _Place(node, field, index), child
            yield from _nodes(child)


def _others(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for table in (COMPARISONS, TURNED):
            if type(node.ops[0]) in table:
                yield "comparison", _with(node, ops=[table[type(node.ops[0])]()])
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in ARITHMETIC:
        yield "operator", _with(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", copy.copy(node.operand)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
        yield "not", copy.copy(node.operand)
    elif isinstance(node, ast.BoolOp):
        yield "and/or", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "constant", ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        more = node.value + 1 if isinstance(node.value, int) or node.value == 0 else 2 * node.value
        yield "constant", ast.Constant(more)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in NAMES:
        yield "min/max", _with(node, id=NAMES[node.id])
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in NAMES:
        yield "min/max", _with(node, attr=NAMES[node.attr])
    elif isinstance(node, ast.Return) and node.value is not None:
        yield "return", ast.Return(ast.Constant(None))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other
