"""Photos are seen otherwise each epoch, always the same way at the same place; scenes never end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import LongRecovery
from sdsearch_eval.data.samples import load_recovery_samples, load_samples
from sdsearch_eval.recovery.sources import open_source

if TYPE_CHECKING:
    from sdsearch_eval.recovery.sources import Source

SIZE = 16
PLAIN = LongRecovery(crop="center", flip=False)


def picture_of(number: int) -> Image.Image:
    """Red tells the column, times 4; blue the number."""
    pixels = np.zeros((SIZE, 3 * SIZE, 3), np.uint8)
    pixels[..., 0] = 4 * np.arange(3 * SIZE)
    pixels[..., 2] = 20 * number
    return Image.fromarray(pixels)


@pytest.fixture
def protocol(tmp_path: Path) -> Protocol:
    """Six photos three times as wide as high, two of which are evaluated."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        picture_of(number).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return Protocol(dataset=str(folder), masks="thick", samples=2, resolution=SIZE)


def views(source: Source, epochs: int, index: int = 0) -> list[tuple[bytes, bytes]]:
    seen = [source[index, epoch] for epoch in range(epochs)]
    return [(sample.image.tobytes(), sample.mask.tobytes()) for sample in seen]


def test_an_evaluated_photo_is_never_learned_from(protocol: Protocol) -> None:
    evaluated = [sample.name for sample in load_samples(protocol)]
    for policy in ("refuse", "skip"):
        told = protocol.model_copy(update={"unreadable": policy})
        source = open_source(told, PLAIN, 0)
        assert source.count == 4
        learned = [source[index, 0].name for index in range(4)]
        assert learned == ["2.png", "3.png", "4.png", "5.png"]
        assert not set(learned) & set(evaluated)


def test_skipped_photos_shift_what_is_evaluated_and_that_is_not_learned_either(
    protocol: Protocol, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "0.png").write_bytes(b"no picture")
    skipping = protocol.model_copy(update={"unreadable": "skip"})
    assert [sample.name for sample in load_samples(skipping)] == ["1.png", "2.png"]
    source = open_source(skipping, PLAIN, 0)
    assert [source[index, 0].name for index in range(3)] == ["3.png", "4.png", "5.png"]


@pytest.mark.parametrize("dataset", ["photos", "scenes"])
def test_a_share_of_holes_is_the_whole_picture_and_all_else_stays(
    dataset: str, protocol: Protocol
) -> None:
    told = protocol if dataset == "photos" else protocol.model_copy(update={"dataset": "scenes"})
    plain, often = (open_source(told, LongRecovery(whole_holes=share), 0) for share in (0.0, 0.25))
    places = [(n % 4, n // 4) if dataset == "photos" else (n, 0) for n in range(80)]
    whole = 0
    for place in places:
        one, other = plain[place], often[place]
        assert np.array_equal(one.image, other.image)
        assert one.caption == other.caption
        assert np.array_equal(often[place].mask, other.mask), "the same place holds the same"
        is_whole = bool((other.mask == 255).all())
        assert is_whole or np.array_equal(one.mask, other.mask)
        assert not (one.mask == 255).all()
        whole += is_whole
    assert 10 <= whole <= 30


def test_without_photos_beyond_the_evaluated_ones_there_is_nothing_to_learn(
    protocol: Protocol,
) -> None:
    with pytest.raises(InputError, match="must not see evaluated images"):
        open_source(protocol.model_copy(update={"samples": 6}), PLAIN, 0)


def test_a_photo_is_seen_otherwise_each_epoch_and_always_so(protocol: Protocol) -> None:
    source = open_source(protocol, LongRecovery(), 0)
    first = views(source, 8)
    assert len({image for image, _ in first}) == 8
    assert len({mask for _, mask in first}) == 8
    assert views(open_source(protocol, LongRecovery(), 0), 8) == first
    assert views(open_source(protocol, LongRecovery(), 1), 8) != first
    assert views(source, 8, index=1) != first


def test_a_crop_is_a_square_of_the_photo_and_half_of_them_are_mirrored(
    protocol: Protocol,
) -> None:
    whole = np.asarray(picture_of(2))
    source = open_source(protocol, LongRecovery(flip=False), 0)
    reds = [source[0, epoch].image[..., 0].astype(int) for epoch in range(60)]
    for red in reds:
        assert (red == red[0]).all()
        assert set(np.diff(red[0, 1:-1]).tolist()) <= {3, 4, 5}
    lefts = [red[0, 1] / 4 - 1 for red in reds]
    assert -0.5 <= min(lefts) <= 3
    assert 2 * SIZE - 3 <= max(lefts) <= 2 * SIZE + 0.5
    mirroring = open_source(protocol, LongRecovery(crop="center"), 0)
    plain = open_source(protocol, PLAIN, 0)
    centre = whole[:, SIZE : 2 * SIZE]
    mirrored = 0
    for epoch in range(60):
        sample = mirroring[0, epoch]
        is_mirrored = np.array_equal(sample.image, centre[:, ::-1])
        assert is_mirrored or np.array_equal(sample.image, centre)
        mirrored += is_mirrored
        assert np.array_equal(plain[0, epoch].image, centre)
    assert 20 < mirrored < 40


def test_every_drawn_mask_is_a_hole_of_its_kind(protocol: Protocol) -> None:
    source = open_source(protocol, LongRecovery(masks="box", flip=False), 0)
    for epoch in range(20):
        mask = source[0, epoch].mask
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() == 255 * rows.sum() * columns.sum() > 0


def test_mask_files_stay_with_their_photos_and_are_mirrored_with_them(
    protocol: Protocol, tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for number in range(6):
        mask = np.zeros((SIZE, 3 * SIZE), np.uint8)
        mask[4:8, SIZE + number : SIZE + number + 4] = 255
        Image.fromarray(mask).save(folder / f"{number}.png")
    filed = protocol.model_copy(update={"masks": str(folder)})
    evaluated = load_recovery_samples(filed, 1)[0]
    source = open_source(filed, LongRecovery(), 0)
    seen = [source[0, epoch] for epoch in range(20)]
    assert len({sample.image.tobytes() for sample in seen}) == 2
    for sample in seen:
        is_mirrored = not np.array_equal(sample.image, evaluated.image)
        mask = evaluated.mask[:, ::-1] if is_mirrored else evaluated.mask
        assert np.array_equal(sample.mask, mask)
    drawn = open_source(filed, LongRecovery(masks="thick"), 0)
    assert len({drawn[0, epoch].mask.tobytes() for epoch in range(20)}) == 20
    (folder / "4.png").unlink()
    with pytest.raises(InputError, match=r"'4\.png' has no mask"):
        open_source(filed, LongRecovery(), 0)


def test_scenes_are_those_of_the_short_recovery_and_go_on() -> None:
    protocol = Protocol()
    source = open_source(protocol, LongRecovery(), 0)
    assert source.count is None
    (first, second) = load_recovery_samples(protocol, 2)
    for index, wanted in enumerate((first, second)):
        found = source[index, 0]
        assert np.array_equal(found.image, wanted.image)
        assert np.array_equal(found.mask, wanted.mask)
        assert found.caption == wanted.caption
    assert source[100_000, 0].image.shape == (64, 64, 3)


def test_scenes_without_end_need_drawn_masks_and_are_not_cached(tmp_path: Path) -> None:
    filed = Protocol(masks=str(tmp_path))
    with pytest.raises(InputError, match="without end"):
        open_source(filed, LongRecovery(), 0)
    assert open_source(filed, LongRecovery(masks="mixed"), 0)[0, 0].mask.any()
    with pytest.raises(InputError, match="cache_latents = 0"):
        open_source(Protocol(), LongRecovery(cache_latents=2), 0)


def test_photos_that_no_painting_is_compared_with_are_all_learned_from(protocol: Protocol) -> None:
    prompts = Path(protocol.dataset).with_name("prompts.txt")
    prompts.write_text("\n".join(f"prompt {number}" for number in range(9)), encoding="utf-8")
    words = protocol.model_copy(
        update={"task": "text-to-image", "samples": 9, "prompts": str(prompts)}
    )
    free = words.model_copy(update={"references": "elsewhere.npz"})
    assert len(load_samples(free)) == 9
    assert len(load_recovery_samples(free, 9)) == open_source(free, PLAIN, 0).count == 6
    # The photos themselves are compared with: there are six, and nine are asked for.
    with pytest.raises(InputError, match="asks for 9 samples"):
        load_recovery_samples(words, 9)


def test_what_is_learned_from_words_has_no_hole_but_all(protocol: Protocol) -> None:
    words = protocol.model_copy(update={"task": "text-to-image"})
    source = open_source(words, PLAIN, 0)
    assert source.count == 4
    assert (source[0, 0].mask == 255).all()
    assert source[0, 0].caption == "picture 2"


@pytest.fixture
def around_holes(protocol: Protocol, tmp_path: Path) -> Protocol:
    """The same photos eight times as large, of which the surroundings of holes are seen."""
    for number in range(6):
        large = picture_of(number).resize((24 * SIZE, 8 * SIZE), Image.Resampling.NEAREST)
        large.save(tmp_path / "photos" / f"{number}.png")
    return protocol.model_copy(update={"crop": "hole", "crop_padding": 8, "masks": "box"})


def test_around_holes_a_photo_is_seen_at_another_place_each_epoch(around_holes: Protocol) -> None:
    source = open_source(around_holes, LongRecovery(flip=False), 0)
    seen = [source[0, epoch] for epoch in range(60)]
    reds = [sample.image[..., 0].astype(int).mean() / 4 for sample in seen]
    assert min(reds) < SIZE / 2 < 2.5 * SIZE < max(reds)
    for sample in seen:
        assert sample.cutout is None
        assert sample.image.shape == (SIZE, SIZE, 3)
        assert 0.2 < (sample.mask == 255).mean() < 0.95
        assert (sample.image[..., 2] == 40).all()


def test_around_holes_the_centre_is_seen_as_it_is_evaluated(
    around_holes: Protocol, tmp_path: Path
) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for number in range(6):
        mask = Image.new("L", (24 * SIZE, 8 * SIZE))
        mask.paste(255, (4, 30, 44, 50))
        mask.save(folder / f"{number}.png")
    filed = around_holes.model_copy(update={"masks": str(folder)})
    (evaluated,) = load_recovery_samples(filed, 1)
    source = open_source(filed, LongRecovery(), 0)
    seen = [source[0, epoch] for epoch in range(8)]
    mirrored = [not np.array_equal(sample.mask, evaluated.mask) for sample in seen]
    assert 0 < sum(mirrored) < 8
    for sample, is_mirrored in zip(seen, mirrored, strict=True):
        step = -1 if is_mirrored else 1
        assert np.array_equal(sample.mask[:, ::step], evaluated.mask)
        assert np.abs(sample.image[:, ::step].astype(int) - evaluated.image).max() <= 1
