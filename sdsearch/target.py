"""Target: a safe expression over label columns, such as "-log(fd_efflite0)"; higher is better."""

from __future__ import annotations

import ast
import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sdsearch.labels import Label

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "log": math.log,
    "log10": math.log10,
    "sqrt": math.sqrt,
    "min": min,
    "max": max,
    "abs": abs,
}
_SEVERAL = {"min", "max"}
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed target; parsing refuses everything but arithmetic, and nothing is ever executed.

    Allowed: column names, numbers, + - * / **, unary + and -, and the functions log, log10,
    sqrt, abs (one argument), min, max (two or more).
    """

    expression: str
    columns: tuple[str, ...] = field(init=False)
    _tree: ast.expr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Parse the expression; `InputError` says what is not allowed."""
        if len(self.expression) > _MOST_CHARACTERS:
            raise InputError(f"a target has at most {_MOST_CHARACTERS} characters")
        try:
            tree = ast.parse(self.expression.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise InputError(f"target {self.expression!r} is no expression: {error}") from None
        columns = tuple(dict.fromkeys(self._names(tree)))
        if not columns:
            raise InputError(
                f"target {self.expression!r} must use a label column, such as -log(fd_efflite0)"
            )
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "_tree", tree)

    def evaluate(self, label: Label) -> float:
        """Return the finite value of the target for a label that is ok.

        Raises `InputError` for a failed label, an unknown column, and a value that is not finite.
        """
        if label.status != "ok":
            raise InputError(f"label {label.arch_key} has no target: it failed: {label.reason}")
        values = {name: label.scalar(name) for name in self.columns}
        try:
            result = _compute(self._tree, values)
        except (ArithmeticError, ValueError) as error:
            raise InputError(self._undefined(label, values, str(error))) from None
        if not math.isfinite(result):
            raise InputError(self._undefined(label, values, f"result {result}"))
        return result

    def _undefined(self, label: Label, values: Mapping[str, float], why: str) -> str:
        stated = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        return (
            f"target {self.expression!r} must be a finite number, but is undefined for label "
            f"{label.arch_key} with {stated}: {why}"
        )

    def _names(self, node: ast.expr) -> Iterator[str]:
        """Yield the column names below `node`; refuse every node that is not arithmetic."""
        match node:
            case ast.Constant(value=bool()):
                pass
            case ast.Constant(value=int() | float()):
                return
            case ast.Name(id=name) if name not in _FUNCTIONS:
                yield name
                return
            case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
                yield from self._names(operand)
                return
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                yield from self._names(left)
                yield from self._names(right)
                return
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                self._check_call(name, len(arguments))
                for argument in arguments:
                    yield from self._names(argument)
                return
        raise InputError(
            f"target {self.expression!r} may hold columns, numbers, + - * / ** and "
            f"{', '.join(_FUNCTIONS)}, but holds {ast.unparse(node)!r}"
        )

    def _check_call(self, name: str, count: int) -> None:
        if name not in _FUNCTIONS:
            raise InputError(
                f"target {self.expression!r} calls {name!r}; "
                f"did you mean {nearest(name, _FUNCTIONS)!r}?"
            )
        if (count < 2) if name in _SEVERAL else (count != 1):
            wanted = "two or more arguments" if name in _SEVERAL else "one argument"
            raise InputError(f"{name} takes {wanted}, but target {self.expression!r} gives {count}")


def _compute(node: ast.expr, values: Mapping[str, float]) -> float:
    """Evaluate a checked tree in floats (so that no power can grow without bound)."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_compute(operand, values)
        case ast.UnaryOp(operand=operand):
            return _compute(operand, values)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_compute(left, values), _compute(right, values))
        case ast.Call(func=ast.Name(id=name), args=arguments):
            return _FUNCTIONS[name](*(_compute(argument, values) for argument in arguments))
    raise AssertionError(f"unchecked node {node!r}")
