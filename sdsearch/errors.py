"""How a command can end badly: wrong input (exit code 2) or failed work (exit code 1)."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from sdsearch.endings import MORE_MEMORY, advise, describe_exit

if TYPE_CHECKING:
    from collections.abc import Iterable


_TOLD = (1, 2, 130)
"""Exit codes of a harness that has printed why it ended, or knows that it was stopped."""
_LAUNCHER_TOLD = 128
"""A launcher says by greater ones which signal ended one of its processes, and prints it."""
_NEAR = 0.6
"""The share of letters that a slip has in common with the name that was meant."""


class InputError(ValueError):
    """The user's input breaks an invariant; the message names it, the value and the next step.

    >>> import sdsearch
    >>> try:
    ...     sdsearch.search_space("sd15")
    ... except sdsearch.InputError as error:
    ...     print(error)
    space must be one of sd14, sd14-blocks, sd14-wide, tiny, but got 'sd15'; did you mean 'sd14'?
    """


class FieldError(InputError):
    """A field has a value that is not supported; the message is made of the four facts.

    Attributes:
        field: its name.
        value: what it is.
        wanted: what it must be, in words.
        next_step: what to do, or why nothing can be done.
    """

    def __init__(self, field: str, value: object, wanted: str, next_step: str) -> None:
        super().__init__(field, value, wanted, next_step)
        self.field, self.value, self.wanted, self.next_step = field, value, wanted, next_step

    def __str__(self) -> str:
        return f"{self.field} must be {self.wanted}, but it is {self.value!r}: {self.next_step}"


class WorkError(RuntimeError):
    """Work on valid input failed; what was finished before is kept, so that it can go on.

    >>> import sdsearch
    >>> issubclass(sdsearch.WorkError, RuntimeError)
    True
    """


class HarnessError(WorkError):
    """A process of the harness ended badly.

    Attributes:
        code: its exit code; below 0 the signal that ended it.
        has_been_told: whether it has printed why: it could, unless something else ended it.
    """

    def __init__(self, stage: str, code: int, lighter: str = MORE_MEMORY) -> None:
        self.code, self.has_been_told = code, code in _TOLD or code > _LAUNCHER_TOLD
        said = "it has said why" if self.has_been_told else advise(code, lighter)
        super().__init__(f"{stage}: its process {describe_exit(code)}; {said}")


def suggest(name: object, known: Iterable[str], otherwise: str = "") -> str:
    """The end of a message about an unknown name: the known one that it is a slip of.

    A name that is near none was no slip, and gets no guess but `otherwise`.

    >>> suggest("stepz", ["seed", "steps"])
    "; did you mean 'steps'?"
    >>> suggest("zzz", ["seed", "steps"])
    ''
    >>> suggest("zzz", ["seed", "steps"], "known are seed and steps")
    '; known are seed and steps'
    """
    said = str(name)
    likeness = {one: difflib.SequenceMatcher(None, said, one).ratio() for one in sorted(known)}
    near = max(likeness, key=likeness.__getitem__, default="")
    if likeness.get(near, 0) >= _NEAR:
        return f"; did you mean {near!r}?"
    return f"; {otherwise}" if otherwise else ""


def check_choice(name: str, value: str, known: Iterable[str]) -> None:
    """Raise `InputError` unless `value` is one of `known`; the message lists them."""
    choices = list(known)
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, but is {value!r}")


def check_at_least(name: str, value: int, least: int) -> None:
    """Raise `InputError` where `value` is below `least`."""
    if value < least:
        raise InputError(f"{name} must be {least} or more, but is {value}; choose another")
