"""A sample; what of a photo it shows; and samples of words: prompts of a file, variations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdsearch.errors import InputError
from sdsearch_eval.data.mask_files import lay_mask, read_mask, read_whole_mask
from sdsearch_eval.data.metadata import read_prompts
from sdsearch_eval.data.photos import rgb_image, square_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffusers.image_processor import VaeImageProcessor
    from numpy.typing import NDArray

    from sdsearch.labels import Protocol
    from sdsearch_eval.data.mask_files import MaskReading
    from sdsearch_eval.data.photos import Picture

GREY = 127
"""What stands where a prompt has no picture."""
LEAST_SIDE = 32
"""Pixels a side of a photo whose hole is cropped: less has no features, nor surroundings."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """The surroundings of a hole, in the pixels of their photo.

    Attributes:
        image: (h, w, 3) uint8; a square, unless the photo is too narrow for it.
        mask: (h, w) uint8, 255 = repaint.
        box: where it lies in the photo: left, upper, right and lower edge.
        share: of the whole photo that is repainted.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    box: tuple[int, int, int, int]
    share: float

    def put_back(self, painted: NDArray[np.uint8], photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The (H, W, 3) photo with what was painted, (h, w, 3), in the place of the cutout."""
        left, upper, right, lower = self.box
        whole = photo.copy()
        whole[upper:lower, left:right] = painted
        return whole


@dataclass(frozen=True, slots=True)
class Sample:
    """A task: (H, W, 3) uint8 sRGB image, caption, (H, W) uint8 mask, 255 = repaint.

    Where pictures are painted from words, all of the mask is; the image is that of the caption, or
    grey where a prompt has none. Image and mask are what a UNet sees. Where they are scaled from a
    `cutout`, that is what paintings are compared with.
    """

    name: str
    image: NDArray[np.uint8]
    caption: str
    mask: NDArray[np.uint8]
    cutout: Cutout | None = None

    @property
    def original(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8: the pixels that paintings are compared with."""
        return self.image if self.cutout is None else self.cutout.image

    @property
    def hole(self) -> NDArray[np.bool_]:
        """(h, w): which pixels of the original are repainted."""
        hole: NDArray[np.bool_] = (self.mask if self.cutout is None else self.cutout.mask) == 255
        return hole

    @property
    def share(self) -> float:
        """The hole's share of the image, or of the whole photo that a cutout is of."""
        return float(self.hole.mean()) if self.cutout is None else self.cutout.share

    def as_seen(self) -> Sample:
        """The same as a UNet sees it, without the pixels that it is scaled from."""
        return replace(self, cutout=None)

    def fit(self, painted: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A painted (H, W, 3) picture at the size of the original."""
        if self.cutout is None:
            return painted
        height, width = self.original.shape[:2]
        return np.asarray(_scaler().resize(Image.fromarray(painted), height, width, "crop"))

    def paste(self, painted: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The original, its hole filled with a painted (H, W, 3) picture."""
        return np.where(self.hole[..., None], self.fit(painted), self.original)


@dataclass(frozen=True, slots=True)
class Frame:
    """What of a photo a sample shows.

    Attributes:
        size: pixels a side of what a UNet sees.
        padding: pixels of the photo that surround its hole; None where the hole is no matter, and
            the photo's centre square is shown.
    """

    size: int
    padding: int | None = None

    @classmethod
    def of(cls, protocol: Protocol) -> Frame:
        """That of a protocol's samples."""
        return cls(protocol.resolution, protocol.crop_padding if protocol.crop == "hole" else None)

    def see(self, photo: Picture, at: tuple[float, float] = (0.5, 0.5)) -> NDArray[np.uint8]:
        """(H, W, 3): the pixels that a mask covers, a square at `size` or the photo as it is.

        Raises:
            InputError: as `square_image`.
        """
        if self.padding is None:
            return square_image(photo, self.size, at)
        return np.asarray(rgb_image(photo))

    def read_mask(self, photo: Picture, mask: Picture, reading: MaskReading) -> NDArray[np.uint8]:
        """(H, W): what a file says of the pixels that are seen.

        Raises:
            InputError: as `data.read_mask`.
        """
        if self.padding is None:
            return read_mask(photo, mask, self.size, reading)
        return read_whole_mask(photo, mask, reading)

    def lay_mask(
        self,
        drawn: NDArray[np.uint8],
        image: NDArray[np.uint8],
        at: tuple[float, float] = (0.5, 0.5),
    ) -> NDArray[np.uint8]:
        """(H, W): a (size, size) mask of the photo's square, over the pixels that are seen."""
        return drawn if self.padding is None else lay_mask(drawn, image.shape[:2], at)

    def cut(
        self, name: str, image: NDArray[np.uint8], caption: str, mask: NDArray[np.uint8]
    ) -> Sample:
        """The sample of what is seen of a photo and of the mask over it.

        Surroundings are those of diffusers' `padding_mask_crop`, by its own class. A pixel of the
        UNet's mask is one that the hole touches at all, so that thin holes stay, and nothing in
        them is known.

        Raises:
            InputError: the photo is too small or too narrow.
        """
        if self.padding is None:
            return Sample(name, image, caption, mask)
        size, scaler, narrow = self.size, _scaler(), min(mask.shape)
        if narrow < LEAST_SIDE or narrow * size < max(mask.shape):
            raise InputError(
                f"a photo must have {LEAST_SIDE} pixels a side, and one side at most {size} times "
                f"the other, for protocol.crop = 'hole', but {name!r} is {mask.shape[1]} x "
                f"{mask.shape[0]}; leave it out, or crop 'whole'"
            )
        box = scaler.get_crop_region(Image.fromarray(mask), size, size, pad=self.padding)
        left, upper, right, lower = box
        near, hole = (pixels[upper:lower, left:right].copy() for pixels in (image, mask))
        touched = scaler.resize(_shrink_hole(hole, size), size, size, "fill").convert("L")
        return Sample(
            name,
            np.asarray(scaler.resize(Image.fromarray(near), size, size, "fill")),
            caption,
            np.where(np.asarray(touched) > 0, 255, 0).astype(np.uint8),
            Cutout(near, hole, box, float((mask == 255).mean())),
        )


def _shrink_hole(hole: NDArray[np.uint8], size: int) -> Image.Image:
    """A mask whose longer side has `size` pixels, of which each is hole that has any hole in it."""
    sides = (side * size // max(hole.shape) for side in hole.shape[::-1])
    shares = Image.fromarray(hole.astype(np.float32)).resize((*sides,), Image.Resampling.BOX)
    return Image.fromarray(np.where(np.asarray(shares) > 0, 255, 0).astype(np.uint8))


@cache
def _scaler() -> VaeImageProcessor:
    """Diffusers' own: what finds the surroundings of a hole, scales them, and scales back."""
    from diffusers.image_processor import VaeImageProcessor

    return VaeImageProcessor()


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
