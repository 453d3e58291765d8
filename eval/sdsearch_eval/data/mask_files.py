"""A photo and the file of its mask, read together: one picture, one hole, cropped alike.

What a mask file says is decided by its values, or by its alpha channel where its colours say
nothing; never by the colours of a palette. What could be meant in two ways is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from sdsearch.errors import InputError
from sdsearch_eval.data.masks import HOLE_IS_0, MaskValues, check_hole, check_mask, convert_mask
from sdsearch_eval.data.photos import (
    UPRIGHT,
    Picture,
    name_errors,
    open_picture,
    rgb_image,
    varying_alpha,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sdsearch.labels import MaskConvention, MaskGeometry

COVERED = 64
"""A pixel belongs to the hole where a quarter (64 of 255) of its area does: thin strokes stay."""
NEAR = 16
"""Levels of 255 that lossy formats may change."""
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
"""Suffixes of files that are never black and white alone."""
FEW_COLOURS = 16
SOFT = 0.25
"""The share of half-bright pixels that only pictures have."""


@dataclass(frozen=True, slots=True)
class MaskReading:
    """How mask files are meant: by their values, and by where they lie on their photos."""

    convention: MaskConvention = "canonical"
    geometry: MaskGeometry = "photo"


def read_mask(photo: Picture, mask: Picture, size: int, reading: MaskReading) -> NDArray[np.uint8]:
    """The canonical mask of `square_image(photo, size)`: (size, size) uint8, 255 = repaint.

    Raises:
        InputError: the mask is the photo itself, lies otherwise than the photo, or is ambiguous,
            soft, empty or nearly full.
    """
    hole = _read_hole(photo, mask, reading)
    # The photo's crop; where pixels become fewer, the hole's share of each decides.
    square = _covered(ImageOps.fit(Image.fromarray(hole), (size, size), Image.Resampling.BOX))
    if hole.any() and not square.any():
        raise InputError(
            f"the hole must lie in the centre square of the photo, but that of {mask.name} lies "
            "outside of it; crop the photo and its mask yourself"
        )
    return check_mask(square, size, mask.name, reading.convention)


def read_whole_mask(photo: Picture, mask: Picture, reading: MaskReading) -> NDArray[np.uint8]:
    """The canonical mask of a whole photo at its own size: (H, W) uint8, 255 = repaint.

    Raises:
        InputError: as `read_mask`.
    """
    hole = _read_hole(photo, mask, reading)
    width, height = photo.image.size
    if reading.geometry == "cropped":
        whole = lay_mask(hole, (height, width))
    else:
        whole = _covered(Image.fromarray(hole).resize((width, height), Image.Resampling.BOX))
    return check_hole(whole, mask.name, reading.convention)


def lay_mask(
    square: NDArray[np.uint8], shape: tuple[int, int], at: tuple[float, float] = (0.5, 0.5)
) -> NDArray[np.uint8]:
    """A mask of a photo's square, scaled to it and laid over the photo, which is (H, W) = `shape`.

    The square is as large as fits; `at` is where it lies, as in `square_image`.
    """
    height, width = shape
    side = min(shape)
    left, top = round((width - side) * at[0]), round((height - side) * at[1])
    laid = np.zeros(shape, np.uint8)
    scaled = Image.fromarray(square).resize((side, side), Image.Resampling.BOX)
    laid[top : top + side, left : left + side] = _covered(scaled)
    return laid


def _covered(scaled: Image.Image) -> NDArray[np.uint8]:
    """The mask of a scaled one: a pixel of which enough was hole is hole."""
    return np.where(np.asarray(scaled) >= COVERED, 255, 0).astype(np.uint8)


def _read_hole(photo: Picture, mask: Picture, reading: MaskReading) -> NDArray[np.uint8]:
    """What a mask file says, once it is known to lie right: at its own size, 255 = repaint."""
    if mask.is_cut:
        raise InputError(
            f"a mask of over 8 bits must have one channel, but {mask.name} has several "
            f"({mask.image.mode}), whose lower bits are lost; save it as 8- or 16-bit grey"
        )
    if _is_photo(photo, mask):
        raise InputError(
            f"a mask must mark the hole of its photo, but {mask.name} shows the photo "
            f"{photo.name} itself"
        )
    _check_geometry(photo, mask, reading.geometry)
    with name_errors(mask.name):
        held = _read_values(photo, mask, reading.convention)
        return convert_mask(held, reading.convention, mask.name)


def is_black_and_white(path: Path) -> bool:
    """Whether an image has black and white pixels and no others; unreadable ones have not."""
    if path.suffix.lower() in LOSSY:
        return False
    stat = path.stat()
    return _has_two_colours(path, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=100_000)
def _has_two_colours(path: Path, _: tuple[int, int]) -> bool:
    """The same of a file in a state, kept since datasets are listed again and again."""
    try:
        colours = rgb_image(open_picture(path)).getcolors(2) or []
    except InputError:
        return False
    return {colour for _, colour in colours} == {(0, 0, 0), (255, 255, 255)}


def _is_photo(photo: Picture, mask: Picture) -> bool:
    """Whether a mask has the photo's own pixels; an alpha channel makes a mask of them."""
    if photo.image.size != mask.image.size or varying_alpha(mask.image) is not None:
        return False
    if photo.samples is not None and mask.samples is not None:
        return np.array_equal(photo.samples, mask.samples)
    if photo.samples is not None or mask.samples is not None:
        return False
    one, other = (np.asarray(rgb_image(each), np.int16) for each in (photo, mask))
    is_soft = ((other > 32) & (other < 223)).mean() > SOFT
    is_near = is_soft and np.abs(one - other).mean() < NEAR / 2
    return bool(is_near) or np.array_equal(one, other)


def _check_geometry(photo: Picture, mask: Picture, geometry: MaskGeometry) -> None:
    """Refuse masks that are stretched, turned or mirrored against their photo."""
    width, height = photo.image.size
    across, down = mask.image.size
    sizes = f"{mask.name} is {across} x {down} beside a photo of {width} x {height}"
    turned = f"the photo's file says EXIF orientation {photo.turn}"
    if mask.turn not in (UPRIGHT, photo.turn):
        raise InputError(
            f"a mask must be turned as its photo, but {mask.name} has EXIF orientation {mask.turn} "
            f"and the photo has {photo.turn}; save the mask upright without EXIF"
        )
    if geometry == "cropped":
        if across != down:
            raise InputError(
                f"a mask of the cropped photo must be square, but {sizes}; mask_geometry = 'photo' "
                "takes masks of whole photos"
            )
        _check_turn(photo, mask)
        return
    if across == down and not _same_aspect(width, height, across, down):
        raise InputError(
            f"a mask must have its photo's aspect, but {sizes}: either it marks the centre square "
            "that is cropped from the photo (then set mask_geometry = 'cropped'), or it was "
            "stretched from the whole photo (then save it with the photo's aspect)"
        )
    if not _same_aspect(width, height, across, down):
        is_turned = _same_aspect(width, height, down, across)
        why = f"it is turned ({turned})" if is_turned else "it was stretched or cropped"
        raise InputError(
            f"a mask must have its photo's aspect, but {sizes}: {why}; make it from the photo as "
            "it is shown, upright"
        )
    is_told_by_aspect = photo.turn >= 5 and not _same_aspect(width, height, down, across)
    if not is_told_by_aspect:
        _check_turn(photo, mask)


def _check_turn(photo: Picture, mask: Picture) -> None:
    """Refuse masks of which their size does not tell whether they are turned as their photo."""
    if photo.turn != UPRIGHT and mask.turn == UPRIGHT:
        raise InputError(
            "it must be clear how a mask lies on its photo, but the photo's file says EXIF "
            f"orientation {photo.turn} and {mask.name} says nothing: it may be turned or mirrored; "
            "save the photo upright without EXIF, or give the mask the photo's orientation"
        )


def _same_aspect(width: int, height: int, across: int, down: int) -> bool:
    """Whether one size is the other scaled, rounded to whole pixels."""
    return abs(across - down * width / height) <= 1 or abs(down - across * height / width) <= 1


def _read_values(photo: Picture, mask: Picture, convention: MaskConvention) -> MaskValues:
    """What a mask file holds; an alpha channel that varies is turned into the convention."""
    image = mask.image
    if mask.samples is not None:
        return MaskValues(mask.samples, mask.white)
    alpha = varying_alpha(image)
    if alpha is not None:
        hole = _hole_of_alpha(photo, mask, alpha, convention)
        return MaskValues(255 - hole if convention in HOLE_IS_0 else hole)
    if image.mode in ("P", "PA"):
        indices = np.asarray(image.getchannel("P"))
        return MaskValues(indices, are_indices=True, is_0_darkest=_is_0_darkest(image, indices))
    colours = np.asarray(image.convert("RGB"))
    spread = np.ptp(colours.astype(np.int16), axis=2)
    if spread.max() > NEAR:
        at = np.unravel_index(spread.argmax(), spread.shape)
        raise InputError(
            f"a mask must be grey, but {mask.name} holds colours, {tuple(colours[at].tolist())} "
            "for one; save it with 255 for the hole and 0 elsewhere"
        )
    return MaskValues(np.asarray(image.convert("L")))


def _is_0_darkest(image: Image.Image, indices: NDArray[np.uint8]) -> bool:
    """Whether index 0 has a darker colour than every other index that an image holds."""
    grey = np.asarray(image.convert("RGB").convert("L"))
    ground, others = grey[indices == 0], grey[indices > 0]
    return ground.size > 0 and others.size > 0 and bool(ground[0] < others.min())


def _hole_of_alpha(
    photo: Picture, mask: Picture, alpha: NDArray[np.uint8], convention: MaskConvention
) -> NDArray[np.uint8]:
    """(H, W) uint8, 255 = hole, of an image that is partly transparent.

    A stroke of one colour on a transparent layer covers the hole. Where the picture was cut out of
    a photo, the hole is what is gone.
    """
    colours = np.asarray(mask.image.convert("RGBA").convert("RGB"))
    opaque = alpha >= 128 if (alpha >= 128).any() else alpha > 0
    seen = colours[opaque]
    red, green, blue = (seen.T >> 3).astype(np.int64)
    count = np.count_nonzero(np.bincount(red << 10 | green << 5 | blue))
    if count > FEW_COLOURS:
        return 255 - alpha
    whole = _fit_photo(photo, mask.image.size)
    is_cut_out = _are_near(colours[opaque], whole[opaque])
    stroke = np.median(seen, axis=0)
    is_stroke = bool(np.abs(seen - stroke).max() <= NEAR)
    if is_cut_out and is_stroke and not _hides_photo(colours[~opaque], whole[~opaque], stroke):
        raise InputError(
            f"{mask.name} has one colour where it is opaque, which its photo has there too, so it "
            "may be a stroke over the hole or what is left of the photo around it; save it without "
            "alpha, 255 for the hole and 0 elsewhere"
        )
    if is_cut_out:
        return 255 - alpha
    if not is_stroke:
        raise InputError(
            f"{mask.name} has an alpha channel and several colours, so its hole could be either; "
            "save it without alpha, 255 for the hole and 0 elsewhere"
        )
    kept, word = (255, "white") if convention in HOLE_IS_0 else (0, "black")
    if np.abs(stroke - kept).max() <= NEAR:
        raise InputError(
            f"{mask.name} is {word} where it is opaque and transparent elsewhere: {word} says that "
            f"this is kept in the mask convention {convention!r}, a stroke on a layer that it is "
            "the hole; save it without alpha, 255 for the hole and 0 elsewhere"
        )
    return alpha


def _fit_photo(photo: Picture, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(H, W, 3): the part of a photo that a mask of a size covers, at that size."""
    return np.asarray(ImageOps.fit(rgb_image(photo), size, Image.Resampling.BOX))


def _are_near(colours: NDArray[np.uint8], others: NDArray[np.uint8]) -> bool:
    """Whether colours, pixel by pixel, are the same but for what resizing and JPEG change."""
    return bool(np.abs(colours.astype(np.int16) - others).mean() < NEAR / 2)


def _hides_photo(
    hidden: NDArray[np.uint8], whole: NDArray[np.uint8], stroke: NDArray[np.float64]
) -> bool:
    """Whether transparent pixels still have their photo's colours, which are not a stroke's."""
    differ = np.abs(whole - stroke).max(axis=1) > NEAR
    return bool(differ.any()) and _are_near(hidden[differ], whole[differ])
