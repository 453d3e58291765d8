"""What a step learns depends on seed and step alone, whoever reads it and wherever it begins."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import LongRecovery
from sdsearch_eval.recovery.sources import open_source
from sdsearch_eval.recovery.stream import PORTION, Order, Pictures, open_stream, shuffle
from sdsearch_eval.world import World

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = LongRecovery(batch_size=5)
SHAPE = (4, 2, 2)


@pytest.fixture
def protocol(tmp_path: Path) -> Protocol:
    """Nine photos, two of which are evaluated."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(9):
        pixels = rng.integers(0, 256, (16, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return Protocol(dataset=str(folder), masks="thick", samples=2, resolution=16)


def stream(
    protocol: Protocol,
    steps: range,
    world: World | None = None,
    workers: int = 0,
    recipe: LongRecovery = RECIPE,
    seed: int = 0,
) -> list[Any]:
    source = open_source(protocol, recipe, seed)
    order = Order(seed, source.count, recipe.batch_size)
    pictures = Pictures(source, recipe, seed, SHAPE)
    return list(open_stream(pictures, order, steps, world or World(), workers))


def as_bytes(batch: Any) -> list[Any]:
    tensors = (*batch.pictures.values(), batch.times, batch.noise)
    return [*batch.captions, *(tensor.numpy().tobytes() for tensor in tensors)]


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_the_order_of_an_epoch_is_a_permutation_by_seed_and_epoch_alone(count: int) -> None:
    orders = [shuffle(seed, epoch, count) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(count)) for order in orders)
    if count == 1000:
        assert len({order.tobytes() for order in orders}) == 4
    assert np.array_equal(shuffle(0, 0, count), shuffle.__wrapped__(0, 0, count))


@pytest.mark.parametrize("batch_size", [3, 7, 16])
def test_batches_go_through_every_epoch_without_gaps(batch_size: int) -> None:
    order = Order(0, 7, batch_size)
    turns = list(chain.from_iterable(order.turns(step, World()) for step in range(14)))
    assert [turn.place for turn in turns] == list(range(14 * batch_size))
    for epoch in range(2 * batch_size):
        found = [turn.picture for turn in turns if turn.epoch == epoch]
        assert found == shuffle(0, epoch, 7).tolist()


def test_a_source_without_end_is_learned_in_order_and_nothing_twice() -> None:
    turns = [turn for step in range(5) for turn in Order(0, None, 4).turns(step, World())]
    assert [turn.picture for turn in turns] == list(range(20))
    assert {turn.epoch for turn in turns} == {0}


@pytest.mark.parametrize("size", [2, 3, 5])
def test_processes_share_out_a_batch(size: int) -> None:
    order = Order(4, 100, 11)
    whole = order.turns(3, World())
    shares = [order.turns(3, World(rank, size)) for rank in range(size)]
    assert sorted(chain.from_iterable(shares)) == sorted(whole)
    assert {len(share) for share in shares} <= {11 // size, 11 // size + 1}


def test_the_stream_is_the_same_for_any_number_of_workers_and_processes(
    protocol: Protocol,
) -> None:
    recipe = RECIPE.model_copy(update={"batch_size": 2 * PORTION + 3, "caption_dropout": 0.3})
    steps = range(3)
    alone = stream(protocol, steps, recipe=recipe)
    assert [batch.size for batch in alone] == [2 * PORTION + 3] * 3
    with_workers = stream(protocol, steps, workers=2, recipe=recipe)
    assert [as_bytes(batch) for batch in alone] == [as_bytes(batch) for batch in with_workers]
    halves = [stream(protocol, steps, World(rank, 2), recipe=recipe) for rank in (0, 1)]
    for step, whole in enumerate(alone):
        for rank in (0, 1):
            half = halves[rank][step]
            assert half.captions == whole.captions[rank::2]
            assert torch.equal(half.times, whole.times[rank::2])
            assert torch.equal(half.noise, whole.noise[rank::2])
            for name, rows in half.pictures.items():
                assert torch.equal(rows, whole.pictures[name][rank::2])


def test_a_run_that_is_taken_up_again_learns_what_it_would_have_learned(
    protocol: Protocol,
) -> None:
    whole = [as_bytes(batch) for batch in stream(protocol, range(5))]
    assert [as_bytes(batch) for batch in stream(protocol, range(2, 5))] == whole[2:]
    assert [as_bytes(batch) for batch in stream(protocol, range(5), seed=1)] != whole


def test_the_parts_of_a_batch_are_the_batch(protocol: Protocol) -> None:
    (batch,) = stream(protocol, range(1))
    parts = list(batch.parts(2))
    assert [part.size for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.noise for part in parts]), batch.noise)
    assert [caption for part in parts for caption in part.captions] == batch.captions


def test_times_are_spread_over_the_schedule_and_noise_is_new_at_every_turn(
    protocol: Protocol,
) -> None:
    batches = stream(protocol, range(4))
    for batch in batches:
        assert (batch.times * 5).long().tolist() == [0, 1, 2, 3, 4]
    noise = torch.cat([batch.noise for batch in batches]).flatten(1)
    assert len({row.numpy().tobytes() for row in noise}) == 20
    assert abs(float(noise.mean())) < 0.2
    assert float(noise.std()) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_captions_are_dropped_as_often_as_the_recipe_says(share: float) -> None:
    recipe = LongRecovery(batch_size=400, caption_dropout=share)

    class Words:
        count, skips, captions = 10, False, ()

        def __getitem__(self, place: tuple[int, int]) -> Any:
            from sdsearch_eval.data import Sample

            pixels = np.zeros((1, 1, 3), np.uint8)
            return Sample("one", pixels, "words", pixels[..., 0])

    pictures = Pictures(Words(), recipe, 0, (1, 1, 1))
    batches = open_stream(pictures, Order(0, 10, 400), range(5), World(), 0)
    captions = [caption for batch in batches for caption in batch.captions]
    assert captions.count("") / len(captions) == pytest.approx(share, abs=0.03)
    assert set(captions) <= {"", "words"}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photo_that_cannot_be_read_is_refused_in_its_own_words(
    protocol: Protocol, workers: int, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "5.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"5\.png cannot be read .*unreadable = 'skip'") as refused:
        stream(protocol, range(2), workers=workers)
    assert "Traceback" not in str(refused.value)


def test_where_photos_may_be_skipped_the_next_one_stands_in(
    protocol: Protocol, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "5.png").write_bytes(b"no picture")
    skipping = protocol.model_copy(update={"unreadable": "skip"})
    captions = [caption for batch in stream(skipping, range(7)) for caption in batch.captions]
    times = {number: captions.count(f"picture {number}") for number in range(9)}
    assert times == {0: 0, 1: 0, 2: 5, 3: 5, 4: 5, 5: 0, 6: 10, 7: 5, 8: 5}
    for number in range(2, 9):
        (tmp_path / "photos" / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="none can be"):
        stream(skipping, range(1))
