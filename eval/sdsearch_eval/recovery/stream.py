"""The order of a long recovery, and the stream of its batches, read by workers ahead of their turn.

What a step learns depends on seed and step alone: not on the processes that share it, on the
workers that read it, or on where a killed run was taken up again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sdsearch.errors import InputError
from sdsearch_eval.devices import pins_memory
from sdsearch_eval.recovery.sources import UnreadablePhotoError
from sdsearch_eval.seeds import open_generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.labels import LongRecovery
    from sdsearch_eval.recovery.latents import LatentFile
    from sdsearch_eval.recovery.sources import Source
    from sdsearch_eval.world import World

PORTION = 8
"""Pictures that a worker reads at a time: what waits in memory is a few of these."""


class Turn(NamedTuple):
    """A picture's turn: its place in the whole run, and which picture in which epoch it is."""

    place: int
    picture: int
    epoch: int


class Batch(NamedTuple):
    """Pictures with what is drawn for them, in host memory, the first dimension being theirs.

    Attributes:
        pictures: `images` (n, H, W, 3) uint8 and `holes` (n, H, W) uint8, 255 = repaint; or, of
            cached latents, `clean`, `masked` (n, 4, h, w) and `masks` (n, 1, h, w), 1 = repaint.
        captions: "" where it is dropped.
        times: (n,) float64 in [0, 1), shares of the noise schedule.
        noise: (n, 4, h, w) float32.
    """

    pictures: dict[str, Tensor]
    captions: list[str]
    times: Tensor
    noise: Tensor

    @property
    def size(self) -> int:
        """How many pictures there are."""
        return len(self.captions)

    def parts(self, size: int) -> Iterator[Batch]:
        """The batch in parts of at most `size`, in order."""
        for start in range(0, self.size, size):
            part = slice(start, start + size)
            yield Batch(
                {name: rows[part] for name, rows in self.pictures.items()},
                self.captions[part],
                self.times[part],
                self.noise[part],
            )


@dataclass(frozen=True, slots=True)
class Order:
    """Whose turn it is: every epoch is a permutation of `count` pictures by seed and epoch alone.

    Batches of `batch_size` follow each other without gaps, from one epoch into the next. Without a
    `count` there is one epoch without end, in order.
    """

    seed: int
    count: int | None
    batch_size: int

    def turns(self, step: int, world: World) -> list[Turn]:
        """The turns of a step that fall to this process: every `world.size`-th."""
        begin = step * self.batch_size
        return [self._turn(begin + k) for k in range(world.rank, self.batch_size, world.size)]

    def _turn(self, place: int) -> Turn:
        if self.count is None:
            return Turn(place, place, 0)
        epoch, at = divmod(place, self.count)
        return Turn(place, int(shuffle(self.seed, epoch, self.count)[at]), epoch)


@lru_cache(maxsize=2)
def shuffle(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order of an epoch: a permutation of `count` pictures."""
    return open_generator(seed, "order", epoch).permutation(count)


@dataclass(frozen=True, slots=True)
class Pictures(torch.utils.data.Dataset[Batch | InputError]):
    """The picture of each turn with all that is drawn for it, as a batch of one.

    An `InputError` is a value here: raised in a worker, it would lose its words.
    """

    source: Source
    recipe: LongRecovery
    seed: int
    latent_shape: tuple[int, int, int]
    latents: LatentFile | None = None

    def __getitem__(self, turn: Turn) -> Batch | InputError:
        """What is learned at a turn."""
        rng = open_generator(self.seed, "lesson", turn.place)
        has_caption = rng.random() >= self.recipe.caption_dropout
        # One time from each of `batch_size` equal strata of the schedule.
        size = self.recipe.batch_size
        time = (turn.place % size + rng.random()) / size
        noise = rng.standard_normal(self.latent_shape, np.float32)
        try:
            pictures, caption = self._see(turn)
        except InputError as error:
            return error
        return Batch(
            {name: torch.tensor(rows)[None] for name, rows in pictures.items()},
            [caption if has_caption else ""],
            torch.tensor([time], dtype=torch.float64),
            torch.from_numpy(noise)[None],
        )

    def _see(self, turn: Turn) -> tuple[Mapping[str, NDArray[Any]], str]:
        """The picture of a turn, or the next one that can be read, and its caption."""
        source, count = self.source, self.source.count or 1
        for ahead in range(count if source.skips else 1):
            index = (turn.picture + ahead) % count if ahead else turn.picture
            if self.latents is not None:
                found = self.latents.read(index, turn.epoch % self.latents.variants)
                if found is not None:
                    return found, source.captions[index]
                continue
            try:
                sample = source[index, turn.epoch]
            except UnreadablePhotoError:
                if not source.skips:
                    raise
                continue
            return {"images": sample.image, "holes": sample.mask}, sample.caption
        raise InputError("there must be a photo that can be read to learn from, but none can be")


def open_stream(
    pictures: Pictures, order: Order, steps: range, world: World, workers: int
) -> Iterator[Batch]:
    """This process's share of the batch of each step, one after another.

    Raises:
        InputError: a picture or its mask cannot be read.
    """
    size = len(order.turns(0, world))
    loader = torch.utils.data.DataLoader(
        pictures,
        batch_sampler=_Portions(order, steps, world),
        collate_fn=_join,
        num_workers=workers,
        pin_memory=pins_memory(world.device),
        generator=torch.Generator(),  # else torch's global one would be drawn from
    )
    waiting: list[Batch] = []
    for portion in loader:
        if isinstance(portion, InputError):
            raise portion
        waiting.append(portion)
        if sum(batch.size for batch in waiting) == size:
            yield _concatenate(waiting)
            waiting = []


@dataclass(frozen=True, slots=True)
class _Portions:
    """The turns of this process in portions, none of which belongs to two steps."""

    order: Order
    steps: range
    world: World

    def __iter__(self) -> Iterator[list[Turn]]:
        for step in self.steps:
            turns = self.order.turns(step, self.world)
            for start in range(0, len(turns), PORTION):
                yield turns[start : start + PORTION]


def _join(found: Iterable[Batch | InputError]) -> Batch | InputError:
    batches = []
    for one in found:
        if isinstance(one, InputError):
            return one
        batches.append(one)
    return _concatenate(batches)


def _concatenate(batches: Sequence[Batch]) -> Batch:
    names = batches[0].pictures
    return Batch(
        {name: torch.cat([batch.pictures[name] for batch in batches]) for name in names},
        [caption for batch in batches for caption in batch.captions],
        torch.cat([batch.times for batch in batches]),
        torch.cat([batch.noise for batch in batches]),
    )
