"""A photo or mask file, decoded: upright by its EXIF tag, eight bits by the depth it states."""

from __future__ import annotations

import importlib
import os
import re
import threading
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from sdsearch.errors import InputError
from sdsearch.files import check_file

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
_LIMIT = threading.Lock()
FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "HEIF", "IM", "JPEG", "JPEG2000", "MSP", "PCX", "PNG"),
    *("PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM"),
)
"""What is decoded, told by a file's content whatever its name says: pixels, read by Pillow alone.

Some that it knows besides start other programs (EPS), or hold several images, of which the header
says no size (icons), or what is no photo (FITS, GRIB).
"""
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
        is_cut: whether the file has over 8 bits in each of several channels, which Pillow cuts to
            the upper 8.
    """

    name: str
    image: Image.Image
    turn: int = UPRIGHT
    samples: NDArray[Any] | None = None
    white: float | None = 255
    is_cut: bool = False


def open_picture(path: Path) -> Picture:
    """Decode an image file: its first frame.

    Raises:
        InputError: it is no whole image of a raster format, or has over `LARGEST_PHOTO` pixels.
    """
    name = printable_name(path)
    check_file(path)
    with name_errors(name):
        with _any_size():
            opened = Image.open(path, formats=known_formats())
        with opened as image:
            check_size(image, LARGEST_PHOTO, name)
            return _decode(image, name)


def check_size(image: Image.Image, largest: int, name: str) -> None:
    """Refuse an image of more pixels than `largest`, of which only the header is read so far.

    Raises:
        InputError: it has more.
    """
    if image.width * image.height > largest:
        raise InputError(
            f"an image may have {largest // 1_000_000} megapixels, but {name} has "
            f"{image.width} x {image.height}; scale it down"
        )


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

    An alpha channel that is the same everywhere says nothing and is dropped.
    The scale never depends on the values themselves, so photos keep their relation to each other.

    Raises:
        InputError: the file does not say how bright its values are.
    """
    with name_errors(picture.name):
        if picture.samples is not None:
            return Image.fromarray(_eight_bits(picture)).convert("RGB")
        image = picture.image
        if picture.is_cut:
            _check_cut(picture)
        if image.has_transparency_data:
            shown = image.convert("RGBA")
            if varying_alpha(image) is None:
                return shown.convert("RGB")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), shown)
        return image.convert("RGB")


def varying_alpha(image: Image.Image) -> NDArray[np.uint8] | None:
    """(H, W) opacity, or None where it is the same everywhere and so says nothing."""
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return None if alpha.min() == alpha.max() else alpha


@contextmanager
def name_errors(name: str) -> Iterator[None]:
    """Work on an image, where whatever Pillow raises is an `InputError` with the image's name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:
        # Decoders raise nearly every class of error on damaged bytes.
        said = str(error) or type(error).__name__
        raise InputError(f"image {name} cannot be read ({said}); repair or remove it") from error


@contextmanager
def _any_size() -> Iterator[None]:
    """Have Pillow read the header of an image of any size; `check_size` stands in for its limit.

    One thread at a time: the limit is Pillow's own, and two that lift it must not lose it.
    """
    with _LIMIT:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@cache
def raster_suffixes() -> frozenset[str]:
    """The suffixes, in lower case, of files that the installed Pillow decodes to pixels.

    HEIC is among them where pillow-heif is installed.
    """
    formats = known_formats()
    known = Image.registered_extensions().items()
    return frozenset(suffix.lower() for suffix, kind in known if kind in formats)


@cache
def known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow decodes, HEIF where pillow-heif is installed."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(kind for kind in FORMATS if kind in Image.OPEN)


_STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that steer a terminal."""


def printable_name(path: PurePath | str) -> str:
    r"""A path as text that can be printed and stored: what cannot is an escape, such as `\xff`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)


def _decode(image: Image.Image, name: str) -> Picture:
    tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    is_deep = _is_deep(image, tags)  # first, as the EXIF block of a PNG is read by loading it
    kind, turn = image.format, _orientation(image)
    image.load()
    # Pillow turns some formats while it loads them; `exif_transpose` would also rewrite the EXIF
    # block, which fails for damaged ones.
    left = TURNS.get(_orientation(image))
    upright = image.copy() if left is None else image.transpose(left)
    bits, form = _first(tags, "BitsPerSample"), _first(tags, "SampleFormat")
    is_signed_byte = upright.mode == "L" and form == 2
    if not upright.mode.startswith(("I", "F")) and not is_signed_byte:
        return Picture(name, upright, turn, is_cut=is_deep)
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


def _is_deep(image: Image.Image, tags: dict[int, Any]) -> bool:
    """Whether an image that is not loaded yet has over 8 bits a channel in its file."""
    bits = tags.get(TAGS["BitsPerSample"], 1)
    if max(bits if isinstance(bits, tuple) else (bits,)) > 8:
        return True
    if image.format == "JPEG2000":
        return _jpeg2000_bits(image) > 8
    for tile in getattr(image, "tile", ()):
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if tile.codec_name == "SGI16" or any(DEEP.search(str(arg)) for arg in args):
            return True
        if tile.codec_name.startswith("ppm") and args[-1] > 255:
            return True
    return False


def _jpeg2000_bits(image: Image.Image) -> int:
    """Bits of the first channel by the marker that sizes a JPEG 2000 stream; 8 without it."""
    file = getattr(image, "fp", None)
    if file is None:
        return 8
    at = file.tell()
    file.seek(0)
    _, marker, rest = file.read(HEADER).partition(b"\xff\x4f\xff\x51")
    file.seek(at)
    return (rest[38] & 0x7F) + 1 if marker and len(rest) > 38 else 8


def _orientation(image: Image.Image) -> int:
    try:
        turn = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
        return int(turn) if turn in TURNS else UPRIGHT
    except Exception:  # noqa: BLE001 (a damaged EXIF block raises nearly anything)
        return UPRIGHT


DEEP = re.compile(r";16[BLN]")
"""In Pillow's names of stored pixels: 16 bits a channel; `BGR;16` are 16 bits a pixel."""
HEADER = 1 << 16
"""Bytes of a file among which its sizes are."""
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
        raise _too_dark(picture.name, f"{high} of {white:.0f}", wanted)
    return (samples * (255 / white)).round().clip(0, 255).astype(np.uint8)


def _check_cut(picture: Picture) -> None:
    """Refuse a photo of which the upper 8 bits hold next to nothing, since it was stored deeper."""
    pairs = zip(picture.image.getbands(), picture.image.split(), strict=True)
    highest = max(int(np.asarray(channel).max()) for band, channel in pairs if band not in "Aa")
    if highest <= round(DARKEST_WHITE * 255):  # some decoders round up
        wanted = "save it with 8 bits, or with 16"
        raise _too_dark(picture.name, f"{highest} of 255 by its upper 8 bits", wanted)


def _too_dark(name: str, reached: str, wanted: str) -> InputError:
    return InputError(
        f"a photo must use the depth that its file states, but {name} reaches {reached} and would "
        f"be black; {wanted}, scaled to the full range"
    )
