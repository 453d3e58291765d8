"""A problem of a pre-flight: what was found, what was wanted, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from sdsearch.errors import FieldError
from sdsearch.model import FrozenModel

if TYPE_CHECKING:
    from sdsearch.errors import InputError


class Problem(FrozenModel):
    """One thing that is wrong with a folder; `code` is stable, for scripts."""

    code: str
    where: str
    """The field, tensor or file."""
    found: str
    wanted: str
    next_step: str

    @classmethod
    def of(cls, code: str, error: InputError, where: str) -> Self:
        """What a reader refused, as a problem; `where` is for errors that name no field."""
        if isinstance(error, FieldError):
            return cls(
                code=code,
                where=error.field,
                found=repr(error.value),
                wanted=error.wanted,
                next_step=error.next_step,
            )
        return cls(
            code=code,
            where=where,
            found=f"refused ({error})",
            wanted="as save_pretrained writes it",
            next_step="mend what is named here, or save it again",
        )

    def __str__(self) -> str:
        return (
            f"{self.code}: {self.where} is {self.found}, but must be {self.wanted}; "
            f"{self.next_step}"
        )
