"""The comparison's pictures, one by one, as a page shows them beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from sdsearch.console import say
from sdsearch.files import read_bytes
from sdsearch.model import FrozenModel, SealedModel

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder

_PICTURE = r"^data:image/(webp|png);base64,[A-Za-z0-9+/]+={0,2}$"


class GalleryRow(FrozenModel):
    """A row of the comparison: its caption, and a picture for every column.

    Pictures are in the page itself: a file never makes a page fetch anything.
    """

    caption: str
    images: dict[str, Annotated[str, StringConstraints(pattern=_PICTURE)]] = Field(min_length=1)


class Gallery(SealedModel):
    """`compare/gallery.json`."""

    schema_version: Literal[1] = Field(1, alias="schema")
    rows: tuple[GalleryRow, ...]

    @model_validator(mode="after")
    def _has_the_same_columns(self) -> Self:
        if len({tuple(row.images) for row in self.rows}) > 1:
            raise ValueError("every row must have the same columns")
        return self


def read_gallery(study: StudyFolder) -> tuple[GalleryRow, ...]:
    """The comparison's rows; none before there is one, nor of a damaged file, which is said."""
    file = study.compare_dir / "gallery.json"
    if not file.exists():
        return ()
    try:
        return Gallery.model_validate_json(read_bytes(file)).rows
    except ValidationError as error:
        say(f"{file} is left out of the report: {error.errors()[0]['msg']}")
        return ()
