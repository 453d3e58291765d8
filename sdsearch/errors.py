"""How a command can end badly: wrong input (exit code 2) or failed work (exit code 1)."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class InputError(ValueError):
    """The user's input breaks an invariant; the message names it, the value and the next step."""


class WorkError(RuntimeError):
    """Work on valid input failed; what was finished before is kept."""


class HarnessError(RuntimeError):
    """The harness ended badly and has printed why; `code` is its exit code."""

    def __init__(self, command: str, code: int) -> None:
        super().__init__(f"sdsearch_eval {command} ended with exit code {code}; it has said why")
        self.code = code


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like `name`, for hints such as "did you mean 'steps'?"."""
    candidates = sorted(known)
    return max(candidates, key=lambda other: difflib.SequenceMatcher(None, name, other).ratio())
