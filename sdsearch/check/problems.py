"""A problem of a pre-flight: what was found, what was wanted, and what to do."""

from __future__ import annotations

from sdsearch.model import FrozenModel


class Problem(FrozenModel):
    """One thing that is wrong with a folder; `code` is stable, for scripts."""

    code: str
    where: str
    """The field, tensor or file."""
    found: str
    wanted: str
    next_step: str

    def __str__(self) -> str:
        return (
            f"{self.code}: {self.where} is {self.found}, but must be {self.wanted}; "
            f"{self.next_step}"
        )
