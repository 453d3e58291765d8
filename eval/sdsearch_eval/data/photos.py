"""A photo or mask file, decoded: upright by its EXIF tag, eight bits by the depth it states."""

from __future__ import annotations

import importlib
import os
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path, PurePath
    from typing import Any

    from numpy.typing import NDArray

LARGEST_PHOTO = 200_000_000
"""Pixels of a photo that is accepted: a file of a few kilobytes may claim far more."""
DARKEST_WHITE = 1 / 16
"""The share of its depth that a photo deeper than 8 bits must reach, else its depth is wrong."""
UPRIGHT = 1
NOT_RASTER = frozenset({"EPS", "IPTC", "MPEG"})
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the image upright."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded image, upright.

    Attributes:
        name: what errors call it, its path for a file.
        image: the pixels as Pillow has them.
        turn: the EXIF orientation (1 to 8) that was undone; 1 where there was none.
        samples: (H, W) values of an image of one channel that is not 8 bits unsigned, else None.
        white: the value of full brightness by the file's depth; None for floats, which state none.
    """

    name: str
    image: Image.Image
    turn: int = UPRIGHT
    samples: NDArray[Any] | None = None
    white: float | None = 255


def open_picture(path: Path) -> Picture:
    """Decode an image file: its first frame.

    Raises:
        InputError: it is no whole image of a raster format, or has over `LARGEST_PHOTO` pixels.
    """
    name = printable_name(path)
    with name_errors(name), Image.open(path, formats=sorted(_raster_formats())) as image:
        if image.width * image.height > LARGEST_PHOTO:
            raise InputError(
                f"an image may have {LARGEST_PHOTO // 1_000_000} megapixels, but {name} has "
                f"{image.width} x {image.height}; scale it down"
            )
        return _decode(image, name)


def take_picture(image: Image.Image, name: str) -> Picture:
    """An image in memory by the rules for files.

    Raises:
        InputError: it cannot be decoded.
    """
    with name_errors(name):
        return _decode(image, name)


def square_image(
    picture: Picture, size: int, at: tuple[float, float] = (0.5, 0.5)
) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 sRGB: the shorter side scaled (Lanczos), the longer cropped centrally.

    `at` is where it is cropped instead: shares of what is cut off that lie left and above.

    Raises:
        InputError: the file does not say how bright its values are.
    """
    with name_errors(picture.name):
        square = ImageOps.fit(
            rgb_image(picture), (size, size), Image.Resampling.LANCZOS, centering=at
        )
    return np.asarray(square)


def rgb_image(picture: Picture) -> Image.Image:
    """8-bit RGB, transparent pixels shown on white; deeper values are scaled by their depth.

    The scale never depends on the values themselves, so photos keep their relation to each other.

    Raises:
        InputError: the file does not say how bright its values are.
    """
    with name_errors(picture.name):
        if picture.samples is not None:
            return Image.fromarray(_eight_bits(picture)).convert("RGB")
        image = picture.image
        if image.has_transparency_data:
            shown = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), shown)
        return image.convert("RGB")


@contextmanager
def name_errors(name: str) -> Iterator[None]:
    """Work on an image, where whatever Pillow raises is an `InputError` with the image's name.

    Pillow's own limit on pixels is lifted meanwhile: `LARGEST_PHOTO` stands in for it.
    """
    limit = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.MAX_IMAGE_PIXELS = None
            yield
    except InputError:
        raise
    except Exception as error:
        # Decoders raise nearly every class of error on damaged bytes.
        said = str(error) or type(error).__name__
        raise InputError(f"image {name} cannot be read ({said}); repair or remove it") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@cache
def raster_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of files that the installed Pillow decodes to pixels.

    HEIC is among them where pillow-heif is installed.
    """
    formats = _raster_formats()
    known = Image.registered_extensions().items()
    return frozenset(suffix.lower() for suffix, kind in known if kind in formats)


def printable_name(path: PurePath | str) -> str:
    r"""A path as text that can be printed and stored: bytes that are not UTF-8 become `\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@cache
def _raster_formats() -> frozenset[str]:
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return frozenset(kind for kind in Image.OPEN if _is_raster(kind))


def _is_raster(kind: str) -> bool:
    """Whether Pillow decodes the pixels of a format: not of stubs, nor of vector formats."""
    opener = Image.OPEN[kind][0]
    is_stub = isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
    return not is_stub and kind not in NOT_RASTER


def _decode(image: Image.Image, name: str) -> Picture:
    tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    kind, turn = image.format, _orientation(image)
    image.load()
    # Pillow turns some formats while it loads them; `exif_transpose` would also rewrite the EXIF
    # block, which fails for damaged ones.
    left = TURNS.get(_orientation(image))
    upright = image.copy() if left is None else image.transpose(left)
    bits, form = _first(tags, "BitsPerSample"), _first(tags, "SampleFormat")
    is_signed_byte = upright.mode == "L" and form == 2
    if not upright.mode.startswith(("I", "F")) and not is_signed_byte:
        return Picture(name, upright, turn)
    samples = np.asarray(upright)
    if tags:
        white = float(2 ** (bits - (form == 2)) - 1)
    else:
        white = 2.0**31 - 1 if upright.mode == "I" and kind not in ("PNG", "PPM") else 65535.0
    if is_signed_byte:
        samples = samples.view(np.int8)
    elif form == 1 and bits == 32:
        samples = samples.view(np.uint32)  # Pillow has them in int32
    if _first(tags, "PhotometricInterpretation") == 0 and samples.dtype.kind == "u":
        samples = np.asarray(white, samples.dtype) - samples  # 0 is white; undone for 8 bits only
    return Picture(name, upright, turn, samples, None if upright.mode == "F" else white)


def _orientation(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        return int(turn) if turn in TURNS else UPRIGHT
    except Exception:  # noqa: BLE001 (a damaged EXIF block raises nearly anything)
        return UPRIGHT


TAGS = {"BitsPerSample": 258, "PhotometricInterpretation": 262, "SampleFormat": 339}


def _first(tags: dict[int, Any], name: str) -> int:
    """The first value of a TIFF tag; 1 is what the standard says where it is missing."""
    value = tags.get(TAGS[name], 1)
    return int(value[0] if isinstance(value, tuple) else value)


def _eight_bits(picture: Picture) -> NDArray[np.uint8]:
    """(H, W) uint8 from samples of any depth."""
    samples, white = picture.samples, picture.white
    assert samples is not None
    low, high = samples.min(), samples.max()
    wanted = "save it with 8 or 16 bits without a sign"
    if white is None:
        raise InputError(
            f"a photo's file must state how bright its values are, but {picture.name} holds floats "
            f"from {low:g} to {high:g}; {wanted}"
        )
    if low < 0:
        raise InputError(
            f"a photo's values must be 0 or more, but {picture.name} holds {low}; {wanted}"
        )
    if 0 < high < DARKEST_WHITE * white:
        raise InputError(
            f"a photo must use the depth that its file states, but {picture.name} reaches {high} "
            f"of {white:.0f} and would be black; {wanted}, scaled to the full range"
        )
    return (samples * (255 / white)).round().clip(0, 255).astype(np.uint8)
