"""What a long recovery learns from: photos, seen otherwise each epoch, or scenes without end."""

from __future__ import annotations

import typing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import numpy as np

from sdsearch.errors import InputError
from sdsearch.keys import content_key
from sdsearch.labels import MaskKind
from sdsearch_eval.data import (
    Frame,
    MaskReading,
    draw_mask,
    list_recovery_photos,
    open_picture,
    require_mask,
    scene_sample,
    whole_hole,
)
from sdsearch_eval.seeds import open_generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdsearch.labels import LongRecovery, Protocol
    from sdsearch_eval.data import Case, Sample
    from sdsearch_eval.data.photos import Picture


class UnreadablePhotoError(InputError):
    """A photo is no whole image; its mask, if it has a file, was not looked at."""


class Source(typing.Protocol):
    """Samples by (index, epoch): the same place always holds the same, in any process."""

    @property
    def count(self) -> int | None:
        """How many make an epoch; None where they have no end, nor a second epoch."""

    @property
    def skips(self) -> bool:
        """Whether another picture stands in for one that cannot be read."""

    @property
    def captions(self) -> tuple[str, ...]:
        """Those of the pictures by index; () where the samples alone tell them."""

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """The sample of an index in an epoch.

        Raises:
            UnreadablePhotoError: it cannot be read.
            InputError: its mask is no fit one.
        """


def open_source(protocol: Protocol, recipe: LongRecovery, seed: int) -> Source:
    """What `recipe` learns from on the data of `protocol`; nothing is decoded yet.

    Raises:
        InputError: no photo is left beyond those that are evaluated on, or masks are missing.
    """
    if recipe.masks != "protocol":
        protocol = protocol.model_copy(update={"masks": recipe.masks})
    if protocol.dataset != "scenes":
        return Photos(protocol, recipe, seed)
    if protocol.masks not in get_args(MaskKind):
        raise InputError(
            "scenes are drawn without end, and so must be the masks of a long recovery, but "
            f"protocol.masks is the folder {protocol.masks}; set masks = 'mixed' in its recipe"
        )
    if recipe.cache_latents:
        raise InputError(
            "latents can be cached of photos, which come again each epoch, but scenes never do; "
            "set cache_latents = 0 in its recipe"
        )
    return Scenes(protocol, recipe, seed)


def open_hole(sample: Sample, share: float, seed: int, place: tuple[int, int]) -> Sample:
    """The sample, or in a `share` of all places the same with everything as its hole."""
    index, epoch = place
    if not share or open_generator(seed, "whole", epoch, index).random() >= share:
        return sample
    return replace(sample, mask=whole_hole(len(sample.mask)))


class Scenes:
    """Scenes of the train split, of which none comes twice."""

    count = None
    skips = False
    captions = ()

    def __init__(self, protocol: Protocol, recipe: LongRecovery, seed: int) -> None:
        self._protocol, self._share, self._seed = protocol, recipe.whole_holes, seed

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """The scene of a number; it has no epochs."""
        sample = scene_sample(self._protocol, "train", place[0]).as_seen()
        return open_hole(sample, self._share, self._seed, place)


class Photos:
    """The photos that are not evaluated on: a new crop, perhaps mirrored, and mask each epoch."""

    def __init__(self, protocol: Protocol, recipe: LongRecovery, seed: int) -> None:
        self._protocol, self._recipe, self._seed = protocol, recipe, seed
        self._cases, self.captions = list_recovery_photos(protocol)
        self._has_files = protocol.masks not in get_args(MaskKind)
        self.count = len(self._cases)
        self.skips = protocol.unreadable == "skip"

    def stamp(self) -> str:
        """A key of the photos' files as they are: names, sizes and times, in order."""
        found = ((case.name, case.photo.stat()) for case in self._cases)
        return content_key([[name, stat.st_size, stat.st_mtime_ns] for name, stat in found])

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        """A photo as it is seen in an epoch."""
        index, epoch = place
        case, size = self._cases[index], self._protocol.resolution
        rng = open_generator(self._seed, "view", epoch, index)
        across, down = rng.random(2)
        is_mirrored = bool(self._recipe.flip and rng.random() < 0.5)
        is_cropped = self._recipe.crop == "random" and not self._has_files
        at = (across, down) if is_cropped else (0.5, 0.5)
        frame = Frame.of(self._protocol)
        try:
            photo = open_picture(case.photo)
            image = frame.see(photo, at)
        except InputError as error:
            raise UnreadablePhotoError(f"{error}; or set protocol.unreadable = 'skip'") from None
        if self._protocol.paints_words:
            mask = whole_hole(size)
        elif self._has_files:
            mask = self._read_mask(case, photo, frame)
        else:
            drawn = draw_mask(cast("MaskKind", self._protocol.masks), rng, size)
            mask = frame.lay_mask(drawn, image, at)
        if is_mirrored:
            image, mask = image[:, ::-1], mask[:, ::-1]
        image, mask = np.ascontiguousarray(image), np.ascontiguousarray(mask)
        sample = frame.cut(case.name, image, self.captions[index], mask).as_seen()
        return open_hole(sample, self._recipe.whole_holes, self._seed, place)

    def _read_mask(self, case: Case, photo: Picture, frame: Frame) -> NDArray[np.uint8]:
        """The photo's own mask: it covers the whole photo, or the centre square."""
        protocol = self._protocol
        reading = MaskReading(protocol.mask_convention, protocol.mask_geometry)
        file = open_picture(require_mask(case, Path(protocol.masks)))
        return frame.read_mask(photo, file, reading)
