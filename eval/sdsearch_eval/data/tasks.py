"""The inpainting tasks that a user hands over: image files, a mask for each, a prompt for each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import numpy as np

from sdsearch.errors import InputError
from sdsearch.labels import MaskKind
from sdsearch_eval.data.captions import read_captions
from sdsearch_eval.data.listing import Case, Manifest, index_masks, list_dataset, require_mask
from sdsearch_eval.data.mask_files import MaskReading
from sdsearch_eval.data.masks import check_mask, draw_mask
from sdsearch_eval.data.photos import open_picture, printable_name
from sdsearch_eval.data.sample import Frame
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch_eval.data.sample import Sample

DIFFUSERS = MaskReading("diffusers")


def read_tasks(
    images: Sequence[Path],
    masks: Sequence[str],
    prompts: Sequence[str],
    size: int,
    reading: MaskReading = DIFFUSERS,
    unit: int | None = None,
    padding: int | None = None,
) -> list[Sample]:
    """One task an image, at `size`: its centre square, or the hole with `padding` pixels around it.

    One mask or prompt for all, or one for each. An image may be a folder. Where no prompts are
    handed over, the images' captions are the prompts. A mask is a file, a folder of masks as a
    dataset's, `box:x,y,w,h` in pixels of the centre square if it has the side `unit` (`size` by
    default), or `auto:KIND` on that square. With `padding` both are drawn at the side `unit`, so
    that pipelines of unlike sizes paint around the same hole.

    Raises:
        InputError: a file is unreadable, a mask is no hole, or the numbers do not match.
    """
    manifests = list_images(images, masks)
    cases = [case for manifest in manifests for case in manifest.cases]
    if not cases:
        found = "; ".join(str(manifest) for manifest in manifests)
        raise InputError(f"there must be an image to inpaint, but there is none ({found})")
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise InputError(f"images need distinct names, which seed their noise, but got {names}")
    texts = _spread(masks, len(cases), "masks")
    captions = _spread(prompts, len(cases), "prompts") or _read_captions(images, manifests)
    frame, unit, tasks = Frame(size, padding), unit or size, []
    side = size if padding is None else unit
    for case, text, caption in zip(cases, texts, captions, strict=True):
        photo = open_picture(case.photo)
        image = frame.see(photo)
        drawn = draw_hole(text, case, side, unit)
        if drawn is None:
            hole = frame.read_mask(photo, open_picture(_find_mask(Path(text), case)), reading)
        else:
            hole = frame.lay_mask(drawn, image)
        tasks.append(frame.cut(case.name, image, caption, hole))
    return tasks


def list_images(images: Sequence[Path], masks: Sequence[str] = ()) -> list[Manifest]:
    """The photos of each image or folder of images, with those masks that lie in one folder.

    Raises:
        InputError: several files may be the mask of an image.
    """
    folder = Path(masks[0]) if len(masks) == 1 and Path(masks[0]).is_dir() else None
    return [
        list_dataset(path, folder)
        if path.is_dir()
        else Manifest((Case(printable_name(path.name), path),), {})
        for path in images
    ]


def _read_captions(images: Sequence[Path], manifests: Sequence[Manifest]) -> list[str]:
    """The captions that lie beside the images, "" where there is none."""
    captions = []
    for path, manifest in zip(images, manifests, strict=True):
        names = [case.name for case in manifest.cases]
        folder = path if path.is_dir() else path.parent
        # Rows of metadata speak of the photos beside a single one, too.
        beside = names if path.is_dir() else [case.name for case in list_dataset(folder).cases]
        known = read_captions(folder, sorted({*names, *beside})).by_photo
        captions += [known[name] for name in names]
    return captions


def draw_hole(text: str, case: Case, size: int, unit: int) -> NDArray[np.uint8] | None:
    """The mask of an image's square that `text` describes: (size, size) uint8, 255 = repaint.

    None where `text` names files.
    """
    kind, _, rest = text.partition(":")
    if kind == "box":
        mask = _box(rest, size, unit)
    elif kind == "auto":
        if rest not in get_args(MaskKind):
            kinds = ", ".join(get_args(MaskKind))
            raise InputError(f"auto:KIND must have one of {kinds}, but has {rest!r}")
        rng = np.random.default_rng(derive_seed(0, case.name, "mask"))
        mask = draw_mask(cast("MaskKind", rest), rng, size)
    else:
        return None
    return check_mask(mask, size, f"{text} of {case.name}")


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


def _find_mask(path: Path, case: Case) -> Path:
    if case.mask is not None:
        return case.mask
    if path.is_dir():
        mask = index_masks(path.resolve()).find(case.name, case.photo.resolve())
        return require_mask(replace(case, mask=mask), path)
    if not path.is_file():
        raise InputError(
            f"a mask must be a file, a folder of masks, box:x,y,w,h or auto:KIND, but "
            f"{printable_name(path)} is no file"
        )
    return path


def _spread(values: Sequence[str], count: int, option: str) -> list[str]:
    """One for all, one for each, or none."""
    if len(values) in (0, count):
        return list(values)
    if len(values) == 1:
        return list(values) * count
    raise InputError(
        f"{option} must be given once or once for each of {count} images, but {len(values)} were"
    )
