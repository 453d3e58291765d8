"""The samples of a protocol: images, captions and masks in a fixed order, and their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from sdsearch.errors import InputError
from sdsearch.keys import content_key
from sdsearch.labels import MaskKind
from sdsearch_eval.data.captions import read_captions
from sdsearch_eval.data.masks import MASKS_VERSION, check_mask, convert_mask, draw_mask
from sdsearch_eval.data.photos import Photo, find_mask, list_photos, read_mask, read_photos
from sdsearch_eval.data.scenes import RENDERER_VERSION, Split, render_scene, split_seed
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.labels import Protocol
    from sdsearch_eval.data.captions import Captions

MASK_RUN = 0
"""Masks belong to the dataset: they stay the same whatever the label seed is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An inpainting task: (H, W, 3) uint8 sRGB image, caption, (H, W) uint8 mask, 255 = repaint."""

    name: str
    image: NDArray[np.uint8]
    caption: str
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SampleFiles:
    """What a sample of the user's own is read from; `mask` is None where masks are drawn."""

    name: str
    photo: Path
    mask: Path | None
    caption: str


def find_files(protocol: Protocol, pool: int) -> tuple[list[SampleFiles], list[SampleFiles]]:
    """The files of the evaluated samples of a dataset, and of up to `pool` to recover on.

    Raises:
        InputError: as `load_samples`.
    """
    folder, masks = Path(protocol.dataset), Path(protocol.masks)
    skipped = skipped_images(protocol) if protocol.unreadable == "skip" else ()
    names = list_photos(folder)
    captions = read_captions(folder, names).by_photo
    files = [
        SampleFiles(
            name,
            folder / name,
            find_mask(masks, name) if "masks" in protocol.fields_with_files else None,
            captions[name],
        )
        for name in names
        if name not in skipped
    ][: protocol.samples + pool]
    if len(files) < protocol.samples:
        raise InputError(
            f"the protocol asks for {protocol.samples} samples, but {protocol.dataset} has "
            f"{len(files)} images; lower protocol.samples or add images"
        )
    return files[: protocol.samples], files[protocol.samples :]


def load_samples(protocol: Protocol) -> list[Sample]:
    """The n samples that a protocol evaluates on: test scenes, or the first n photos by name.

    Every mask is checked to be canonical.

    Raises:
        InputError: an image or mask is unreadable or unfit, or the dataset has too few images.
    """
    size = protocol.resolution
    if protocol.dataset == "scenes":
        return [_scene_sample(protocol, "test", i) for i in range(protocol.samples)]
    photos = read_photos(Path(protocol.dataset), size, protocol.unreadable).photos
    if len(photos) < protocol.samples:
        raise InputError(
            f"the protocol asks for {protocol.samples} samples, but {protocol.dataset} has "
            f"{len(photos)} images; lower protocol.samples or add images"
        )
    return [_photo_sample(protocol, photo) for photo in photos[: protocol.samples]]


def load_recovery_samples(protocol: Protocol, count: int) -> list[Sample]:
    """Up to `count` samples to recover on, none of which is evaluated on.

    Those are train scenes, or the photos after the first n by name.

    Raises:
        InputError: as `load_samples`, or no photo is left.
    """
    size = protocol.resolution
    if protocol.dataset == "scenes":
        return [_scene_sample(protocol, "train", i) for i in range(count)]
    photos = read_photos(Path(protocol.dataset), size, protocol.unreadable).photos
    left = photos[protocol.samples :]
    if not left:
        raise InputError(
            f"recovery must not see evaluated images, but {protocol.dataset} has none beyond the "
            f"first {protocol.samples}; add images, lower protocol.samples, or set "
            "protocol.recovery.steps = 0"
        )
    return [_photo_sample(protocol, photo) for photo in left[:count]]


def skipped_images(protocol: Protocol) -> tuple[str, ...]:
    """The names of images that the protocol's policy leaves out as unreadable."""
    if protocol.dataset == "scenes":
        return ()
    folder = Path(protocol.dataset)
    return read_photos(folder, protocol.resolution, protocol.unreadable).skipped


def read_dataset_captions(protocol: Protocol) -> Captions | None:
    """The captions of the protocol's photos, and what was left out; None for scenes.

    Raises:
        InputError: as `read_captions`.
    """
    if protocol.dataset == "scenes":
        return None
    folder = Path(protocol.dataset)
    return read_captions(folder, list_photos(folder))


def manifest_sha256(samples: Sequence[Sample]) -> str:
    """SHA-256 over the names, pixels, captions and masks of the samples, in order."""
    digest = hashlib.sha256(f"scenes {RENDERER_VERSION} masks {MASKS_VERSION}".encode())
    for sample in samples:
        digest.update(content_key([sample.name, sample.caption]).encode())
        digest.update(sample.image.tobytes())
        digest.update(sample.mask.tobytes())
    return digest.hexdigest()


def _scene_sample(protocol: Protocol, split: Split, number: int) -> Sample:
    scene = render_scene(split_seed(split, number), protocol.resolution)
    name = f"scene-{split}-{number}"
    mask = _mask(protocol, name, scene.object_masks)
    return Sample(name, scene.image, scene.caption, mask)


def _photo_sample(protocol: Protocol, photo: Photo) -> Sample:
    return Sample(photo.name, photo.image, photo.caption, _mask(protocol, photo.name, None))


def _mask(
    protocol: Protocol, name: str, object_masks: dict[str, NDArray[np.bool_]] | None
) -> NDArray[np.uint8]:
    size = protocol.resolution
    kind = next((kind for kind in get_args(MaskKind) if kind == protocol.masks), None)
    if kind is None:
        mask = read_mask(Path(protocol.masks), name)
        mask = convert_mask(mask, protocol.mask_convention, name)
    else:
        rng = np.random.default_rng(derive_seed(MASK_RUN, name, "mask"))
        mask = draw_mask(kind, rng, size, object_masks)
    return check_mask(mask, size, name)
