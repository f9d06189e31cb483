"""Finds the small changes to a module that a test should notice, from its syntax alone.

Guarantees: each mutant is valid Python and differs from the module in one place. Strings, annotations, decorators, type
aliases and ``assert_never`` stay as they are: most changes to them are for people and type checkers to notice.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

_Code: TypeAlias = ast.expr | ast.stmt

_SWAPPED: Final[dict[type[ast.AST], Any]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}
_LEFT_ALONE: Final = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change: the bytes from ``start`` to ``end`` become ``text``.

    ``lines`` are those that a test must execute to notice it, None if they are executed at import.
    """

    start: int
    end: int
    text: bytes
    lines: range | None

    def apply(self, source: bytes) -> bytes:
        """Return the module with this change."""
        return source[: self.start] + self.text + source[self.end :]


def mutants(source: bytes) -> list[Mutant]:
    """Return every mutant of a module."""
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))

    def mutant(statement: ast.stmt | None, old: _Code, new: ast.AST) -> Mutant:
        last = old.end_lineno or old.lineno
        text = ast.unparse(new)
        return Mutant(
            start=offsets[old.lineno - 1] + old.col_offset,
            end=offsets[last - 1] + (old.end_col_offset or 0),
            text=(f"({text})" if isinstance(old, ast.expr) else text).encode(),
            lines=range(statement.lineno, last + 1) if statement else None,
        )

    return [mutant(*change) for change in _changes(ast.parse(source), None)]


def _changes(node: ast.AST, statement: ast.stmt | None) -> Iterator[tuple[ast.stmt | None, _Code, ast.AST]]:
    """Yield the function's statement that each change is in, what is changed and what takes its place."""
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if name in _LEFT_ALONE or not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            around = statement
            if isinstance(child, ast.stmt) and (statement or (is_function and name == "body")):
                around = child
                yield from ((around, child, new) for new in _of_statement(child))
            elif isinstance(child, ast.expr):
                is_condition = name in {"test", "guard", "ifs"}
                yield from (
                    (around, child, new)
                    for new in _of_expression(child, is_condition=is_condition, runs=around is not None)
                )
            yield from _changes(child, around)


def _of_expression(old: ast.expr, *, is_condition: bool, runs: bool) -> Iterator[ast.expr]:
    match old:
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for index, op in enumerate(ops):
                yield ast.Compare(left, [*ops[:index], _SWAPPED[type(op)](), *ops[index + 1 :]], comparators)
        case ast.BinOp(left=left, op=op, right=right) if runs or not isinstance(op, ast.BitOr):
            yield ast.BinOp(left, _SWAPPED[type(op)](), right)
        case ast.BoolOp(op=op, values=values):
            yield ast.BoolOp(_SWAPPED[type(op)](), values)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case _:
            pass
    if is_condition and not isinstance(old, ast.Compare | ast.UnaryOp | ast.Constant):
        yield ast.UnaryOp(ast.Not(), old)


def _of_statement(old: ast.stmt) -> Iterator[ast.stmt]:
    match old:
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None))
        case ast.AugAssign(target=target, op=op, value=value):
            yield ast.AugAssign(target, _SWAPPED[type(op)](), value)
            yield ast.Pass()
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            pass
        case (
            ast.Expr(value=ast.Call() | ast.Await())
            | ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_])
            | ast.Raise()
            | ast.Delete()
            | ast.Break()
            | ast.Continue()
        ):
            yield ast.Pass()
        case _:
            pass
