"""The user's own images: a folder of them, with their captions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sdsearch.errors import InputError
from sdsearch_eval.data.captions import read_captions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

Unreadable = Literal["refuse", "skip"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Photo:
    """One square (H, W, 3) uint8 sRGB photo; the caption is empty where none was given."""

    name: str
    image: NDArray[np.uint8]
    caption: str


@dataclass(frozen=True, slots=True)
class PhotoSet:
    """The readable images of a folder, and the names of those that were skipped."""

    photos: tuple[Photo, ...]
    skipped: tuple[str, ...]


def read_photos(folder: Path, size: int, unreadable: Unreadable = "refuse") -> PhotoSet:
    """All images of a folder in order of their names, scaled and centre-cropped to size x size.

    One rule for all: the shorter side is scaled to `size` (Lanczos), the longer one cropped.
    `unreadable` says what is done about files that are no whole images.

    Raises:
        InputError: there is no such folder, or images cannot be read and are refused (all of them
            are named).
    """
    names = list_photos(folder)
    captions = read_captions(folder, names).by_photo
    photos, broken = [], {}
    for name in names:
        try:
            photos.append(read_photo(folder / name, size, captions))
        except InputError as error:
            broken[name] = str(error)
    if broken and unreadable == "refuse":
        first, others = next(iter(broken.values())), ", ".join(list(broken)[1:])
        more = f"; nor can {others}" if others else ""
        raise InputError(f"{first}{more}; or set protocol.unreadable = 'skip'")
    return PhotoSet(tuple(photos), tuple(broken))


def list_photos(folder: Path) -> list[str]:
    """The names of a folder's image files, in order; raises `InputError` where it is no folder."""
    if not folder.is_dir():
        raise InputError(
            f"protocol.dataset must be 'scenes' or a folder of images, but {folder} is no folder"
        )
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def read_mask(folder: Path, name: str) -> NDArray[np.uint8]:
    """The mask of the image called `name`, as (H, W) uint8."""
    return read_grey(find_mask(folder, name))


def find_mask(folder: Path, name: str) -> Path:
    """The mask of the image called `name`: `<stem>.png` in a folder of masks."""
    if not folder.is_dir():
        raise InputError(
            f"protocol.masks must be a mask kind or a folder of masks, but {folder} is no folder"
        )
    stem = name.rsplit(".", 1)[0]
    path = folder / f"{stem}.png"
    if not path.is_file():
        raise InputError(f"image {name!r} has no mask: expected {path}")
    return path


def read_photo(path: Path, size: int, captions: Mapping[str, str]) -> Photo:
    """One image file by the rule of `read_photos`, with its caption by name."""
    image = np.asarray(square_image(_open(path), size))
    return Photo(path.name, image, captions[path.name])


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An image file as (H, W) uint8 grey."""
    return np.asarray(_open(path).convert("L"))


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise InputError(f"image {path} cannot be read ({error}); repair or remove it") from error


def square_image(image: Image.Image, size: int) -> Image.Image:
    """RGB of size x size: the shorter side scaled (Lanczos), the longer one cropped centrally."""
    return ImageOps.fit(_to_rgb(image), (size, size), Image.Resampling.LANCZOS)


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: 16-bit grey is scaled, which `convert` would clip, and transparency is white."""
    if image.mode.startswith("I"):
        grey = np.asarray(image, np.float64) / 257
        image = Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, shown)
    return image.convert("RGB")
