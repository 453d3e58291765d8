"""Inpainting masks: uint8 {0, 255}, 255 = repaint, drawn at the resolution they are used at.

Irregular strokes follow LaMa's sampling rules (Suvorov et al., WACV 2022): its 256 px parameters up
to 384 px and its 512 px ones above, scaled to the resolution. A box is one rectangle; object masks
cover one known object and a margin around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from sdsearch.errors import InputError
from sdsearch.labels import MaskConvention, MaskKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


MASKS_VERSION = 2
"""Part of every manifest hash: raise it whenever any mask changes."""

LARGEST_HOLE = 0.95
HOLE_IS_0: tuple[MaskConvention, ...] = ("mat", "repaint")
"""The conventions whose masks are white where the photo is kept."""
NUMBERED = 32
"""At most so many values look like numbers of objects, more like soft edges."""
MIXED: tuple[MaskKind, ...] = ("box", "thick", "object", "medium")


class Strokes(NamedTuple):
    """LaMa's irregular-mask parameters at one side of image: lengths and widths in its pixels."""

    longest: int
    widest: int
    fewest: int
    most: int


STROKES: dict[int, dict[str, Strokes]] = {
    256: {
        "thin": Strokes(40, 10, 4, 50),
        "medium": Strokes(100, 50, 4, 5),
        "thick": Strokes(200, 100, 1, 5),
    },
    512: {
        "thin": Strokes(100, 20, 4, 70),
        "medium": Strokes(200, 100, 4, 10),
        "thick": Strokes(450, 250, 1, 5),
    },
}


def draw_mask(
    kind: MaskKind,
    rng: np.random.Generator,
    size: int,
    object_masks: Mapping[str, NDArray[np.bool_]] | None = None,
) -> NDArray[np.uint8]:
    """Draw one size x size mask; `mixed` picks box, thick, object or medium with equal chance.

    `object` needs a non-empty `object_masks`; where a scene has no object, a box stands in.
    Strokes are redrawn until the hole is neither empty nor larger than half of the image.
    """
    if kind not in get_args(MaskKind):
        raise InputError(f"mask kind must be one of {get_args(MaskKind)}, but got {kind!r}")
    if kind == "mixed":
        kind = MIXED[rng.integers(len(MIXED))]
    if kind == "object" and object_masks:
        return _object(rng, size, object_masks)
    if kind in STROKES[256]:
        return _strokes(rng, size, kind)
    return _box(rng, size)


class MaskValues(NamedTuple):
    """What a mask file holds.

    Attributes:
        values: (H, W), any type of number.
        white: the value of white by the depth of the file; None for floats, which have none.
        are_indices: of a palette, whose colours do not count.
        is_0_darkest: whether no other index of the palette that is held is as dark as 0.
    """

    values: NDArray[Any]
    white: float | None = 255
    are_indices: bool = False
    is_0_darkest: bool = False


def convert_mask(held: MaskValues, convention: MaskConvention, name: str) -> NDArray[np.uint8]:
    """A mask in the convention of another code, in the canonical form.

    0 and 255 are understood at any depth. Soft values are accepted only where the convention
    itself says what becomes of them.

    Raises:
        InputError: the values are not those of the convention; what the file holds is named.
    """
    values, white = held.values, held.white
    full = 255 if white is None or np.isin(values, (0, 255)).all() else white
    if convention == "lama":
        hole = values > 0
    elif convention == "diffusers":
        hole = values * 2.0 > full
        if values.any() and not hole.any():
            raise _refuse(held, f"{full / 2:g} or more for the hole", convention, name, full)
    else:
        if not np.isin(values, (0, full)).all():
            raise _refuse(held, f"only 0 and {full:g}", convention, name, full)
        hole = values == (full if convention == "canonical" else 0)
    return np.where(hole, 255, 0).astype(np.uint8)


def _refuse(held: MaskValues, wanted: str, convention: str, name: str, full: float) -> InputError:
    """The error for values that are not those of a convention: what they are and what to do."""
    found = np.unique(held.values)
    shown = ", ".join(f"{value:g}" for value in found[:6]) + (", ..." if len(found) > 6 else "")
    # Where 0 is the hole, conventions in which it is kept would turn the mask inside out.
    is_0_kept = convention not in HOLE_IS_0
    hole, rest = (full, 0) if is_0_kept else (0, full)
    written = f"{hole:g} for what is repainted and {rest:g} for the rest"
    lama = ", or set mask_convention = 'lama' (all above 0 is the hole)" if is_0_kept else ""
    if held.are_indices:
        advice = f"colours of a palette do not count: save it as greyscale, {written}"
        advice += lama if held.is_0_darkest else ""
    elif len(found) <= 2 and found[-1] == 1:
        advice = f"multiply it by {full:g}{lama}"
    elif len(found) <= NUMBERED and found.dtype.kind != "f":
        advice = f"threshold it; or where these are numbers of objects, write {written}"
    else:
        advice = f"threshold it to 0 and {full:g}"
        if is_0_kept and convention != "diffusers":
            advice += ", or set mask_convention = 'diffusers' (the upper half is the hole)"
    noun = "indices of a palette" if held.are_indices else "values"
    return InputError(
        f"mask {name!r} must hold {wanted} in the convention {convention!r}, but holds the {noun} "
        f"{shown}; {advice}"
    )


def check_mask(
    mask: NDArray[np.uint8], size: int, name: str, convention: MaskConvention = "canonical"
) -> NDArray[np.uint8]:
    """Return `mask` if it is canonical, else raise `InputError` naming what is wrong.

    Canonical: uint8 of shape (size, size), values 0 and 255 only, hole fraction in (0, 0.95].
    `convention` is that of the file which it was made of.
    """
    if mask.shape != (size, size):
        raise InputError(f"mask {name!r} must be {size}x{size} pixels, but is {mask.shape}")
    values = set(np.unique(mask).tolist())
    if not values <= {0, 255}:
        found = sorted(values - {0, 255})[:4]
        raise InputError(f"mask {name!r} must hold only 0 and 255, but holds {found}; threshold it")
    return check_hole(mask, name, convention)


def check_hole(
    mask: NDArray[np.uint8], name: str, convention: MaskConvention = "canonical"
) -> NDArray[np.uint8]:
    """Return a mask of 0 and 255 if its hole is neither empty nor nearly all of it.

    Raises:
        InputError: it is; most such masks are inverted.
    """
    hole = float((mask == 255).mean())
    if not 0 < hole <= LARGEST_HOLE:
        state = "empty" if hole == 0 else f"{hole:.0%} hole"
        marks, other, colour = "255", "repaint", "black"
        if convention in HOLE_IS_0:
            marks, other, colour = "0", "canonical", "white"
        raise InputError(
            f"0 < hole fraction <= {LARGEST_HOLE} must hold for a mask, but {name!r} is {state}; "
            f"{marks} marks what is repainted: is the mask inverted? mask_convention = {other!r} "
            f"takes masks with a {colour} hole"
        )
    return mask


def _box(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    height, width = rng.integers(size // 4, size * 5 // 8, 2)
    top, left = rng.integers(0, size - height), rng.integers(0, size - width)
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + height, left : left + width] = 255
    return mask


def _object(
    rng: np.random.Generator, size: int, object_masks: Mapping[str, NDArray[np.bool_]]
) -> NDArray[np.uint8]:
    names = sorted(name for name, mask in object_masks.items() if mask.any())
    if not names:
        return _box(rng, size)
    chosen = object_masks[names[rng.integers(len(names))]]
    margin = 2 * max(1, round(size * 3 / 64)) + 1
    grown = Image.fromarray(chosen.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(margin))
    mask = np.asarray(grown)
    return mask if (mask == 255).mean() <= LARGEST_HOLE else _box(rng, size)


def _strokes(rng: np.random.Generator, size: int, kind: str) -> NDArray[np.uint8]:
    side = 256 if size <= 384 else 512
    strokes = STROKES[side][kind]
    while True:
        image = Image.new("L", (size, size))
        draw = ImageDraw.Draw(image)
        # LaMa draws up to one stroke more than its configuration says.
        for number in range(int(rng.integers(strokes.fewest, strokes.most + 2))):
            _stroke(rng, draw, size, size / side, strokes, mirrored=number % 2 == 0)
        mask = np.asarray(image)
        if 0 < (mask == 255).mean() <= 0.5:
            return mask


def _stroke(
    rng: np.random.Generator,
    draw: ImageDraw.ImageDraw,
    size: int,
    scale: float,
    strokes: Strokes,
    *,
    mirrored: bool,
) -> None:
    """One stroke of 1 to 5 segments with round ends; its angle is one of four, or their mirror."""
    x, y = rng.uniform(0, size, 2)
    for _ in range(int(rng.integers(1, 6))):
        angle = 0.01 + rng.integers(4)
        if mirrored:
            angle = 2 * np.pi - angle
        length = (10 + rng.integers(strokes.longest)) * scale
        width = max(1, round((5 + rng.integers(strokes.widest)) * scale))
        end_x = float(np.clip(x + length * np.sin(angle), 0, size))
        end_y = float(np.clip(y + length * np.cos(angle), 0, size))
        draw.line([(x, y), (end_x, end_y)], fill=255, width=width)
        radius = (width - 1) / 2
        for at_x, at_y in ((x, y), (end_x, end_y)):
            draw.ellipse([at_x - radius, at_y - radius, at_x + radius, at_y + radius], fill=255)
        x, y = end_x, end_y
