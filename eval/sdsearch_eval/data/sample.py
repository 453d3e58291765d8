"""A sample, and those of a protocol that paints from words: prompts of a file, variations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.errors import InputError
from sdsearch_eval.data.metadata import read_prompts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from sdsearch.labels import Protocol

GREY = 127
"""What stands where a prompt has no picture."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A task: (H, W, 3) uint8 sRGB image, caption, (H, W) uint8 mask, 255 = repaint.

    Where pictures are painted from words, all of the mask is; the image is that of the caption, or
    grey where a prompt has none.
    """

    name: str
    image: NDArray[np.uint8]
    caption: str
    mask: NDArray[np.uint8]


def choose_prompts(protocol: Protocol) -> tuple[str, ...]:
    """As many of the file's prompts as the protocol paints, from the first on.

    Raises:
        InputError: as `read_prompts`, or there are fewer.
    """
    wanted = protocol.pictures
    found = read_prompts(Path(protocol.prompts))
    if len(found) < wanted:
        raise InputError(
            f"the protocol asks for {protocol.samples} samples in {protocol.variations} variations "
            f"each, but {protocol.prompts} has {len(found)} prompts, and {wanted} are needed; "
            "lower protocol.samples or add prompts"
        )
    return found[:wanted]


def paint_prompts(texts: Iterable[str], side: int) -> list[Sample]:
    """A sample without a picture for each prompt: all of it is the hole.

    Their names are their numbers, which seed their noise: two UNets begin with the same.
    """
    image, hole = np.full((side, side, 3), GREY, np.uint8), whole_hole(side)  # of all of them
    return [Sample(f"prompt-{number:06d}", image, text, hole) for number, text in enumerate(texts)]


def vary(samples: Iterable[Sample], variations: int) -> Iterator[Sample]:
    """Each sample so often, one after another, under names of their own: other noise."""
    for sample in samples:
        yield sample
        for number in range(2, variations + 1):
            yield replace(sample, name=f"{sample.name} variation {number}")


def whole_hole(side: int) -> NDArray[np.uint8]:
    """The mask of a picture that is painted whole."""
    return np.full((side, side), 255, np.uint8)
