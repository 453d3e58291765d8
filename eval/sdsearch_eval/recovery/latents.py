"""Latents of pictures: encoded when they are needed, or once for all and kept in one mapped file.

The file holds some ways of seeing each photo: crop, mirror image and mask of the first epochs. It
keeps latents in half precision, which rounds them by a two-thousandth: far below the noise that is
added to them. Every record has a seal, its own hash, which is looked at when it is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from sdsearch.console import say
from sdsearch.errors import InputError
from sdsearch.files import (
    RECORDS_AT_ONCE,
    RECORDS_DONE,
    SEAL_BYTES,
    describe_records,
    is_sealed_record,
    make_folder,
    seal_of_record,
)
from sdsearch_eval.recovery.sources import UnreadablePhotoError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch_eval.data import Sample
    from sdsearch_eval.models import Components
    from sdsearch_eval.recovery.sources import Source
    from sdsearch_eval.world import World

BLOCK = RECORDS_AT_ONCE
"""Records that are encoded together, always the same ones, and marked as done together."""


def encode_pictures(
    components: Components, images: Tensor, holes: Tensor, *, is_masked: bool
) -> dict[str, Tensor]:
    """What a UNet learns from pictures, on the device of `components`.

    Args:
        components: whose autoencoder and device count.
        images: (n, H, W, 3) uint8.
        holes: (n, H, W) uint8, 255 = repaint.
        is_masked: whether `masked`, of the image with its hole greyed, and `masks` are wanted.

    Returns:
        `clean` and `masked`, latents (n, 4, h, w), and `masks` (n, 1, h, w), 1 = repaint.
    """
    pixels = images.to(components.device).permute(0, 3, 1, 2).float() / 127.5 - 1
    found = {"clean": components.encode_images(pixels)}
    if is_masked:
        hole = (holes.to(components.device) == 255).float()[:, None]
        found["masked"] = components.encode_images(pixels * (1 - hole))
        found["masks"] = F.max_pool2d(hole, components.latent_factor)
    return found


@dataclass(frozen=True, slots=True)
class LatentFile:
    """`variants` records for each of `count` photos: photo by photo within a variant.

    Attributes:
        path: the file; its name must tell all that decides what is in it.
        shape: of latents, (4, h, w).
        is_masked: whether `masked` and `masks` are kept beside `clean`.
    """

    path: Path
    count: int
    variants: int
    shape: tuple[int, int, int]
    is_masked: bool

    def make(self) -> None:
        """Make the file, with room for everything, unless it is there.

        Raises:
            OSError: the disk has no room for it.
        """
        if self.path.is_file():
            return
        make_folder(self.path.parent, self.path.parents[1])
        partial = self.path.with_suffix(".partial")
        end = describe_records(self._record.itemsize)
        size = self._done_at + self._blocks + len(end)
        try:
            with partial.open("wb") as file:
                # Writing to a mapped file that the disk has no room for would kill the process.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
                file.seek(-len(end), os.SEEK_END)
                file.write(end)
            partial.replace(self.path)
        finally:
            partial.unlink(missing_ok=True)

    def missing(self, share: slice = slice(None)) -> list[int]:
        """The blocks of a share that are not filled yet, or are damaged, which is said."""
        done, mine = self._done("r"), range(self._blocks)[share]
        filled = [block for block in mine if done[block] == RECORDS_DONE]
        damaged = [block for block in filled if not self._is_whole(block)]
        if damaged:
            say(f"{self.path} is damaged in {len(damaged)} of its blocks; they are encoded again")
        return sorted(set(mine) - set(filled) | set(damaged))

    def _is_whole(self, block: int) -> bool:
        records = self._records("r")[block * BLOCK : (block + 1) * BLOCK]
        return all(is_sealed_record(record.tobytes()) for record in records)

    def places(self, block: int) -> list[tuple[int, int]]:
        """The (photo, variant) of each record of a block."""
        numbers = range(block * BLOCK, min((block + 1) * BLOCK, self.count * self.variants))
        return [(number % self.count, number // self.count) for number in numbers]

    def write(self, block: int, latents: dict[str, Tensor], are_whole: Sequence[bool]) -> None:
        """Fill a block: latents of its readable photos, in order, and which those are."""
        rows = np.zeros(len(are_whole), self._record)
        rows["is_whole"] = are_whole
        for name, values in latents.items():
            rows[name][list(are_whole)] = values.cpu().numpy()
        for row in rows:
            row["seal"] = np.frombuffer(seal_of_record(row.tobytes()), np.uint8)
        records = self._records("r+")
        records[block * BLOCK :][: len(rows)] = rows
        records.flush()
        done = self._done("r+")
        done[block] = RECORDS_DONE
        done.flush()

    def read(self, photo: int, variant: int) -> dict[str, NDArray[np.float32]] | None:
        """The latents and the mask of a photo, without a batch; None where it cannot be read.

        Raises:
            InputError: the file is damaged there.
        """
        record = self._records("r")[variant * self.count + photo]
        if not is_sealed_record(record.tobytes()):
            raise InputError(
                f"{self.path} must be as it was written, but was damaged since; run again, and "
                "what is damaged is encoded again"
            )
        if not record["is_whole"]:
            return None
        return {name: record[name].astype(np.float32) for name in self._names}

    @property
    def _names(self) -> tuple[str, ...]:
        return ("clean", "masked", "masks") if self.is_masked else ("clean",)

    @property
    def _record(self) -> np.dtype[Any]:
        mask = (1, *self.shape[1:])
        kinds = {"clean": ("<f2", self.shape), "masked": ("<f2", self.shape), "masks": ("u1", mask)}
        latents = ((name, *kinds[name]) for name in self._names)
        return np.dtype([("is_whole", "?"), *latents, ("seal", "u1", (SEAL_BYTES,))])

    @property
    def _blocks(self) -> int:
        return -(-self.count * self.variants // BLOCK)

    @property
    def _done_at(self) -> int:
        return int(self._record.itemsize) * self.count * self.variants

    def _records(self, mode: Any) -> Any:
        return np.memmap(self.path, self._record, mode, 0, (self.count * self.variants,))

    def _done(self, mode: Any) -> Any:
        return np.memmap(self.path, np.uint8, mode, self._done_at, (self._blocks,))


def fill_latents(
    file: LatentFile,
    source: Source,
    components: Components,
    world: World,
    workers: int,
    tell: Callable[[int, int], None],
) -> None:
    """Encode this process's share of what is missing; `tell` is given how many blocks of how many.

    Raises:
        InputError: a photo cannot be read, and none may stand in for it.
    """
    # By number: what is missing changes while others fill it.
    mine = file.missing(slice(world.rank, None, world.size))
    loader = torch.utils.data.DataLoader(
        _Views(source),
        batch_sampler=[file.places(block) for block in mine],
        collate_fn=list,
        num_workers=workers,
        generator=torch.Generator(),  # else torch's global one would be drawn from
    )
    for number, (block, found) in enumerate(zip(mine, loader, strict=True)):
        for one in found:
            may_skip = source.skips and isinstance(one, UnreadablePhotoError)
            if isinstance(one, InputError) and not may_skip:
                raise one
        samples = [one for one in found if not isinstance(one, InputError)]
        latents = {}
        if samples:
            images, holes = (
                torch.from_numpy(np.stack(rows))
                for rows in zip(*((sample.image, sample.mask) for sample in samples), strict=True)
            )
            latents = encode_pictures(components, images, holes, is_masked=file.is_masked)
        file.write(block, latents, [not isinstance(one, InputError) for one in found])
        tell(number + 1, len(mine))


@dataclass(frozen=True, slots=True)
class _Views(torch.utils.data.Dataset["Sample | InputError"]):
    """The samples of a source; an `InputError` is a value: a worker would lose its words."""

    source: Source

    def __getitem__(self, place: tuple[int, int]) -> Sample | InputError:
        try:
            return self.source[place]
        except InputError as error:
            return error
