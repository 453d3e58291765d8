"""The samples of a protocol: images, captions and masks in a fixed order, and their hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

import numpy as np
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.keys import content_key
from sdsearch.labels import MaskKind
from sdsearch_eval.data.captions import read_captions
from sdsearch_eval.data.cases import check_counts, is_scenes, list_photos, mask_folder
from sdsearch_eval.data.listing import Case, Manifest, require_mask
from sdsearch_eval.data.mask_files import MaskReading
from sdsearch_eval.data.masks import MASKS_VERSION, check_mask, draw_mask
from sdsearch_eval.data.photos import open_picture, take_picture
from sdsearch_eval.data.sample import (
    Frame,
    Sample,
    choose_prompts,
    paint_prompts,
    vary,
    whole_hole,
)
from sdsearch_eval.scenes import RENDERER_VERSION, render_scene, split_seed
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from sdsearch.labels import Protocol
    from sdsearch_eval.data.photos import Picture
    from sdsearch_eval.scenes import Split

T = TypeVar("T")
MASK_RUN = 0
"""Masks belong to the dataset: they stay the same whatever the label seed is."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What labels of a protocol are measured and recovered on, decoded in one pass.

    Attributes:
        samples: what is evaluated on.
        pool: photos to recover on, none of which is evaluated on; () for scenes.
        manifest: which files are what, unreadable ones named as far as they were met; None for
            scenes.
    """

    samples: tuple[Sample, ...]
    pool: tuple[Sample, ...]
    manifest: Manifest | None


def load_dataset(protocol: Protocol, pool: int) -> Dataset:
    """The n samples of a protocol, and for photos up to `pool` more to recover on.

    Raises:
        InputError: as `load_samples` and `load_recovery_samples`.
    """
    samples, rest, manifest = visit_dataset(protocol, pool, _as_it_is)
    return Dataset(tuple(samples), tuple(rest), manifest)


def visit_dataset(
    protocol: Protocol, pool: int, take: Callable[[Sample], T]
) -> tuple[list[T], list[T], Manifest | None]:
    """What `take` makes of each sample, and of each photo of the pool; the rest of `load_dataset`.

    Samples are decoded one after another, and only what `take` returns is held.

    Raises:
        InputError: as `load_dataset`.
    """
    n = protocol.pictures

    def take_varied(samples: Iterable[Sample]) -> list[T]:
        return [take(one) for one in vary(samples, protocol.variations)]

    if protocol.prompts != "captions":
        painted = take_varied(paint_prompts(choose_prompts(protocol), protocol.resolution))
        rest, manifest = _skip_photos(protocol, pool, take)
        return painted, rest, manifest
    if is_scenes(protocol):
        return take_varied(scene_sample(protocol, "test", i) for i in range(n)), [], None
    read, manifest = _read_photos(protocol, 0, n + pool, lambda one: take_varied([one]))
    check_counts(protocol, len(read), pool, manifest)
    return [one for several in read[:n] for one in several], [one[0] for one in read[n:]], manifest


def _skip_photos(
    protocol: Protocol, pool: int, take: Callable[[Sample], T]
) -> tuple[list[T], Manifest | None]:
    """What is taken of the photos after those that are held out; nothing of scenes."""
    if is_scenes(protocol):
        return [], None
    read, manifest = _read_photos(protocol, protocol.held_out, pool, take)
    found = min(protocol.held_out, len(manifest.cases)) + len(read)
    check_counts(protocol, found, pool, manifest)
    return read, manifest


def _as_it_is(sample: Sample) -> Sample:
    return sample


def load_samples(protocol: Protocol) -> list[Sample]:
    """The n samples that a protocol evaluates on: test scenes, or the first n photos by name.

    Only these are decoded. Every mask is checked to be canonical.

    Raises:
        InputError: an image or mask is unreadable or unfit, or the dataset has too few images.
    """
    return list(load_dataset(protocol, 0).samples)


def load_reference_samples(protocol: Protocol) -> Iterator[Sample]:
    """The pictures of the dataset that painted ones are compared with, one after another.

    Raises:
        InputError: as `load_samples`.
    """
    n = protocol.pictures
    if is_scenes(protocol):
        yield from (scene_sample(protocol, "test", i) for i in range(n))
        return
    read, manifest = _read_photos(protocol, 0, n, _as_it_is)
    check_counts(protocol, len(read), 0, manifest)
    yield from read


def load_recovery_samples(protocol: Protocol, count: int) -> list[Sample]:
    """Up to `count` samples to recover on, none of which is evaluated on.

    Those are train scenes, or the photos after the first n by name; of cutouts, what a UNet sees.

    Raises:
        InputError: as `load_samples`, or no photo is left.
    """
    if is_scenes(protocol):
        return [scene_sample(protocol, "train", i).as_seen() for i in range(count)]
    return _skip_photos(protocol, count, Sample.as_seen)[0]


def list_recovery_photos(protocol: Protocol) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """All photos that may be learned from, none of which is evaluated on, and their captions.

    Those are the photos after the first n by name. Nothing is decoded; but where unreadable photos
    may be skipped, those that are evaluated on are, to know which they are.

    Raises:
        InputError: as `load_samples`, no photo is left, or one has no mask in a folder of masks.
    """
    manifest = list_photos(protocol)
    assert manifest is not None, "scenes have no files"
    captions = read_captions(Path(protocol.dataset), [case.name for case in manifest.cases])
    n, rest = protocol.held_out, manifest.cases
    if n and protocol.unreadable == "skip":
        names = captions.by_photo
        read, manifest = _decode_photos(protocol, manifest, names, 0, n, lambda one: one.name)
        check_counts(protocol, len(read), 0, manifest)
        rest = rest[[case.name for case in rest].index(read[-1]) + 1 :]
    else:
        rest = rest[n:]
    check_counts(protocol, min(n, len(manifest.cases)) + len(rest), 1, manifest)
    folder = mask_folder(protocol)
    if folder is not None:
        for case in rest:
            require_mask(case, folder)
    return rest, tuple(captions.by_photo[case.name] for case in rest)


def choose_cases(protocol: Protocol, pool: int) -> tuple[list[Case], list[Case]]:
    """The files of the evaluated samples, and of up to `pool` samples to recover on.

    Nothing is decoded, unless unreadable photos may be skipped. Scenes have mask files alone.

    Raises:
        InputError: as `load_dataset`, or a mask file is missing.
    """
    n, folder = protocol.held_out, mask_folder(protocol)
    manifest = list_photos(protocol)
    if manifest is None:
        names = [f"scene-test-{i}" for i in range(n)], [f"scene-train-{i}" for i in range(pool)]
        files = [[folder / f"{one}.png" for one in part] if folder else [] for part in names]
        chosen = [[Case(file.stem, file, file) for file in part] for part in files]
    else:
        if protocol.unreadable == "skip":
            manifest = _read_photos(protocol, 0, n + pool, lambda one: one.name)[1]
        readable = [case for case in manifest.cases if case.name not in manifest.unreadable]
        check_counts(protocol, len(readable), pool, manifest)
        chosen = [readable[:n], readable[n : n + pool]]
    if folder is not None:
        for case in (*chosen[0], *chosen[1]):
            require_mask(case, folder)
    return chosen[0], chosen[1]


def manifest_sha256(samples: Sequence[Sample]) -> str:
    """SHA-256 over the names, pixels, captions and masks of the samples, in order."""
    digest = hashlib.sha256(f"scenes {RENDERER_VERSION} masks {MASKS_VERSION}".encode())
    for sample in samples:
        digest.update(content_key([sample.name, sample.caption]).encode())
        digest.update(sample.image.tobytes())
        digest.update(sample.mask.tobytes())
    return digest.hexdigest()


def scene_sample(protocol: Protocol, split: Split, number: int) -> Sample:
    """A scene of a split with its mask, drawn or from the protocol's folder.

    Raises:
        InputError: the folder of masks has none for it, or an unfit one.
    """
    scene = render_scene(split_seed(split, number), protocol.resolution)
    name = f"scene-{split}-{number}"
    folder, frame = mask_folder(protocol), Frame.of(protocol)
    if folder is None:
        drawn = _draw_mask(protocol, name, scene.object_masks)
        mask = frame.lay_mask(drawn, scene.image)
    else:
        file = folder / f"{name}.png"
        case = Case(name, file, file if file.is_file() else None)
        photo = take_picture(Image.fromarray(scene.image), name)
        mask = _read_mask(protocol, case, folder, photo)
    return frame.cut(name, scene.image, scene.caption, mask)


def _read_photos(
    protocol: Protocol, start: int, count: int, take: Callable[[Sample], T]
) -> tuple[list[T], Manifest]:
    """What is taken of `count` photos, or fewer if there are no more, after `start` readable ones.

    Names are chosen first; only what they name is decoded. Where unreadable photos may be skipped,
    the first `start` have to be decoded too, to know how many of them count.
    """
    manifest = list_photos(protocol)
    assert manifest is not None, "scenes have no files"
    names = [case.name for case in manifest.cases]
    captions = read_captions(Path(protocol.dataset), names).by_photo
    return _decode_photos(protocol, manifest, captions, start, count, take)


def _decode_photos(
    protocol: Protocol,
    manifest: Manifest,
    captions: Mapping[str, str],
    start: int,
    count: int,
    take: Callable[[Sample], T],
) -> tuple[list[T], Manifest]:
    folder, frame = mask_folder(protocol), Frame.of(protocol)
    skips = protocol.unreadable == "skip"
    cases = manifest.cases if skips else manifest.cases[start : start + count]
    passed = start if skips else 0
    read: list[T] = []
    unreadable: dict[str, str] = {}
    for case in cases:
        if len(read) == passed + count:
            break
        try:
            photo = open_picture(case.photo)
            image = frame.see(photo)
        except InputError as error:
            unreadable[case.name] = str(error)
            continue
        if folder is None:
            mask = frame.lay_mask(_draw_mask(protocol, case.name, None), image)
        else:
            mask = _read_mask(protocol, case, folder, photo)
        read.append(take(frame.cut(case.name, image, captions[case.name], mask)))
    if unreadable and not skips:
        first, *others = unreadable
        more = f"; nor can {', '.join(others)}" if others else ""
        raise InputError(f"{unreadable[first]}{more}; or set protocol.unreadable = 'skip'")
    return read[passed:], manifest.without(unreadable)


def _read_mask(protocol: Protocol, case: Case, folder: Path, photo: Picture) -> NDArray[np.uint8]:
    reading = MaskReading(protocol.mask_convention, protocol.mask_geometry)
    file = open_picture(require_mask(case, folder))
    return Frame.of(protocol).read_mask(photo, file, reading)


def _draw_mask(
    protocol: Protocol, name: str, object_masks: dict[str, NDArray[np.bool_]] | None
) -> NDArray[np.uint8]:
    size = protocol.resolution
    if protocol.paints_words:
        return whole_hole(size)
    kind = next(kind for kind in get_args(MaskKind) if kind == protocol.masks)
    rng = np.random.default_rng(derive_seed(MASK_RUN, name, "mask"))
    return check_mask(draw_mask(kind, rng, size, object_masks), size, name)
