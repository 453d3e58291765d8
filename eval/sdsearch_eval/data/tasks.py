"""The inpainting tasks that a user hands over: image files, a mask for each, a prompt for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import numpy as np
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.labels import MaskKind
from sdsearch_eval.data.captions import read_captions
from sdsearch_eval.data.masks import check_mask, convert_mask, draw_mask
from sdsearch_eval.data.photos import list_photos, read_grey, read_photo, read_photos
from sdsearch_eval.data.samples import Sample
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.labels import MaskConvention
    from sdsearch_eval.data.photos import Photo

CONVENTIONS = (
    "a mask is white (255) where the image is repainted, as in diffusers; masks with a black hole "
    "(MAT, RePaint) need the mask convention 'mat' or 'repaint'"
)


def read_tasks(
    images: Sequence[Path],
    masks: Sequence[str],
    prompts: Sequence[str],
    size: int,
    convention: MaskConvention = "diffusers",
    unit: int | None = None,
) -> list[Sample]:
    """One task an image, square at `size`; one mask or prompt for all, or one for each.

    An image may be a folder. Where no prompts are handed over, the images' captions are the
    prompts. A mask is a file, a folder with one `<stem>.png` for each image, `box:x,y,w,h` in
    pixels of an image of side `unit` (`size` by default), or `auto:KIND`.

    Raises:
        InputError: a file is unreadable, a mask is no hole, or the numbers do not match.
    """
    photos = [photo for path in images for photo in _read_images(path, size)]
    if not photos:
        raise InputError(f"there must be an image to inpaint, but {images} hold none")
    names = [photo.name for photo in photos]
    if len(set(names)) < len(names):
        raise InputError(f"images need distinct names, which seed their noise, but got {names}")
    captions = _spread(prompts, len(photos), "prompts") or [photo.caption for photo in photos]
    return [
        Sample(
            photo.name,
            photo.image,
            caption,
            read_hole(mask, photo.name, size, convention, unit or size),
        )
        for photo, mask, caption in zip(
            photos, _spread(masks, len(photos), "masks"), captions, strict=True
        )
    ]


def _read_images(path: Path, size: int) -> tuple[Photo, ...]:
    if path.is_dir():
        return read_photos(path, size).photos
    names = {path.name, *list_photos(path.parent)} if path.is_file() else [path.name]
    return (read_photo(path, size, read_captions(path.parent, sorted(names)).by_photo),)


def read_hole(
    text: str, name: str, size: int, convention: MaskConvention, unit: int
) -> NDArray[np.uint8]:
    """The mask that `text` says for the image called `name`: (size, size) uint8, 255 = repaint."""
    kind, _, rest = text.partition(":")
    if kind == "box":
        mask = _box(rest, size, unit)
    elif kind == "auto":
        if rest not in get_args(MaskKind):
            kinds = ", ".join(get_args(MaskKind))
            raise InputError(f"auto:KIND must have one of {kinds}, but has {rest!r}")
        rng = np.random.default_rng(derive_seed(0, name, "mask"))
        mask = draw_mask(cast("MaskKind", rest), rng, size)
    else:
        mask = _file(Path(text), name, size, convention)
    try:
        return check_mask(mask, size, f"{text} of {name}")
    except InputError as error:
        raise InputError(f"{error} ({CONVENTIONS})") from None


def _box(text: str, size: int, unit: int) -> NDArray[np.uint8]:
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"a box must be box:x,y,w,h in pixels, but is 'box:{text}'") from None
    if not (0 <= x < x + width <= unit and 0 <= y < y + height <= unit):
        raise InputError(
            f"a box must lie inside of the {unit} x {unit} image, but is x {x}, y {y}, {width} "
            f"wide, {height} high"
        )
    mask = np.zeros((size, size), np.uint8)
    scale = size / unit
    top, bottom = round(y * scale), round((y + height) * scale)
    left, right = round(x * scale), round((x + width) * scale)
    mask[top:bottom, left:right] = 255
    return mask


def _file(path: Path, name: str, size: int, convention: MaskConvention) -> NDArray[np.uint8]:
    if path.is_dir():
        path = path / f"{name.rsplit('.', 1)[0]}.png"
    if not path.is_file():
        raise InputError(
            f"a mask must be a file, a folder of masks, box:x,y,w,h or auto:KIND, but {path} is no "
            "file"
        )
    grey = Image.fromarray(convert_mask(read_grey(path), convention, str(path)))
    # The same centre crop as the image's, so that they stay aligned; a mask has no grey between.
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    square = grey.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.NEAREST))


def _spread(values: Sequence[str], count: int, option: str) -> list[str]:
    """One for all, one for each, or none."""
    if len(values) in (0, count):
        return list(values)
    if len(values) == 1:
        return list(values) * count
    raise InputError(
        f"{option} must be given once or once for each of {count} images, but {len(values)} were"
    )
