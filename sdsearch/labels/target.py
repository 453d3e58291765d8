"""Target: a safe expression over label columns, such as "-log(fd_efflite0)"; higher is better."""

from __future__ import annotations

import ast
import math
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sdsearch.labels.label import Label

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
            raise InputError(f"label {label.arch_key} has no target: it failed: {label.failure}")
        values = {}
        for name in self.columns:
            try:
                values[name] = label.scalar(name)
            except InputError as error:
                raise InputError(f"{error}{self.point_at(name)}") from None
        try:
            result = _compute(self._tree, values)
        except _UndefinedError as error:
            where = self._pointer(error.node)
            raise InputError(self._undefined(label, values, str(error)) + where) from None
        if not math.isfinite(result):
            raise InputError(self._undefined(label, values, f"result {result}"))
        return result

    def standard_error(self, label: Label) -> float | None:
        """Return the error of the target that follows from those of its columns, to first order.

        None where no column has one, and where the target is undefined one error away.
        """
        if label.status != "ok":
            return None
        values = {name: label.scalar(name) for name in self.columns}
        errors = {name: getattr(label.values[name], "se", None) or 0.0 for name in self.columns}
        variance = 0.0
        for name, error in errors.items():
            try:
                above, below = (
                    _compute(self._tree, {**values, name: values[name] + sign * error})
                    for sign in (1, -1)
                )
            except _UndefinedError:
                return None
            variance += ((above - below) / 2) ** 2
        return math.sqrt(variance) or None

    @property
    def log_column(self) -> str | None:
        """The column of which the target is minus the logarithm; None where it is something else.

        >>> Target("-log(fd_efflite0)").log_column
        'fd_efflite0'
        """
        match self._tree:
            case ast.UnaryOp(
                op=ast.USub(), operand=ast.Call(func=ast.Name(id="log"), args=[ast.Name(id=name)])
            ):
                return name
        return None

    def _undefined(self, label: Label, values: Mapping[str, float], why: str) -> str:
        stated = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        return (
            f"target {self.expression!r} must be a finite number, but is undefined for label "
            f"{label.arch_key} with {stated}: {why}"
        )

    def point_at(self, name: str) -> str:
        """Two lines that show the expression with a mark under the first use of a column."""
        named = (node for node in ast.walk(self._tree) if isinstance(node, ast.Name))
        first = min((n for n in named if n.id == name), key=lambda n: (n.lineno, n.col_offset))
        return self._pointer(first)

    def _pointer(self, node: ast.expr) -> str:
        """Return two lines that show the expression with a mark under `node`."""
        line = self.expression.strip().splitlines()[node.lineno - 1]
        # Offsets of a tree count bytes, marks count characters.
        start = len(line.encode()[: node.col_offset].decode())
        end = len(line.encode()[: node.end_col_offset].decode())
        length = end - start if node.end_lineno == node.lineno else len(line) - start
        return f"\n  {line}\n  {' ' * start}{'^' * max(length, 1)}"

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
                self._check_call(name, node, len(arguments))
                for argument in arguments:
                    yield from self._names(argument)
                return
        raise InputError(
            f"target {self.expression!r} may hold columns, numbers, + - * / ** and "
            f"{', '.join(_FUNCTIONS)}, but holds {ast.unparse(node)!r}{self._pointer(node)}"
        )

    def _check_call(self, name: str, node: ast.expr, count: int) -> None:
        if name not in _FUNCTIONS:
            known = ", ".join(_FUNCTIONS)
            raise InputError(
                f"target {self.expression!r} calls {name!r}"
                f"{suggest(name, _FUNCTIONS, f'it may call {known}')}{self._pointer(node)}"
            )
        if (count < 2) if name in _SEVERAL else (count != 1):
            wanted = "two or more arguments" if name in _SEVERAL else "one argument"
            raise InputError(
                f"{name} takes {wanted}, but target {self.expression!r} gives {count}"
                f"{self._pointer(node)}"
            )


class _UndefinedError(Exception):
    """An operation has no finite value; `node` is where."""

    def __init__(self, node: ast.expr, why: Exception) -> None:
        super().__init__(str(why))
        self.node = node


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
            operands = [_compute(left, values), _compute(right, values)]
            return _apply(node, _OPERATORS[type(op)], operands)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            operands = [_compute(argument, values) for argument in arguments]
            return _apply(node, _FUNCTIONS[name], operands)
    raise AssertionError(f"unchecked node {node!r}")


def _apply(node: ast.expr, function: Callable[..., float], operands: list[float]) -> float:
    try:
        return function(*operands)
    except (ArithmeticError, ValueError) as error:
        raise _UndefinedError(node, error) from None
