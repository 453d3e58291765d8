"""Latents in a file are those of the pictures, whoever encoded them and however often it died."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.files import SEAL_BYTES, DamagedFileError, check_records
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import LongRecovery
from sdsearch.pipelines import open_pipeline
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.recovery.latents import BLOCK, LatentFile, encode_pictures, fill_latents
from sdsearch_eval.recovery.sources import open_source
from sdsearch_eval.recovery.stream import Order, Pictures, open_stream
from sdsearch_eval.recovery.tutor import Tutor
from sdsearch_eval.world import World
from tests.eval.pretended import GPU, pretended_gpu
from tests.fakes import tiny_member

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch_eval.models import Teacher
    from sdsearch_eval.recovery.sources import Source

SIZE, VARIANTS = 32, 3


@pytest.fixture
def protocol(tmp_path: Path) -> Protocol:
    """Seven photos, two of which are evaluated."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(7):
        pixels = rng.integers(0, 256, (SIZE, SIZE + 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return Protocol(dataset=str(folder), masks="thick", samples=2, resolution=SIZE)


RECIPE = LongRecovery(batch_size=4, cache_latents=VARIANTS)


def shape_of(teacher: Teacher) -> tuple[int, int, int]:
    return 4, SIZE // teacher.latent_factor, SIZE // teacher.latent_factor


def filled(path: Path, source: Source, teacher: Teacher, *worlds: World) -> LatentFile:
    assert source.count is not None
    file = LatentFile(path, source.count, VARIANTS, shape_of(teacher), is_masked=True)
    file.make()
    for world in worlds or (World(),):
        fill_latents(file, source, teacher, world, 0, lambda done, total: None)
    return file


def test_a_latent_in_which_a_bit_flipped_is_refused_and_encoded_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = LatentFile(tmp_path / "latents.bin", 2 * BLOCK, 1, (4, 8, 8), is_masked=True)
    file.make()
    latents = {
        "clean": torch.ones(BLOCK, 4, 8, 8),
        "masked": torch.zeros(BLOCK, 4, 8, 8),
        "masks": torch.ones(BLOCK, 1, 8, 8),
    }
    for block in range(2):
        file.write(block, latents, [True] * BLOCK)
    check_records(file.path)
    assert file.missing() == []
    whole = file.path.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) * 3 // 4] ^= 1
    file.path.write_bytes(damaged)
    with pytest.raises(DamagedFileError):
        check_records(file.path)
    with pytest.raises(InputError, match="encoded again"):
        [file.read(photo, 0) for photo in range(2 * BLOCK)]
    assert (file.missing(), file.missing(slice(0, None, 2))) == ([1], [])
    assert capsys.readouterr().err.count("they are encoded again") == 1
    file.write(1, latents, [True] * BLOCK)
    assert file.path.read_bytes() == whole


def test_every_variant_holds_the_latents_of_its_picture(
    protocol: Protocol, teacher: Teacher, tmp_path: Path
) -> None:
    source = open_source(protocol, RECIPE, 0)
    file = filled(tmp_path / "latents.bin", source, teacher)
    assert file.missing() == []
    for photo in range(5):
        for variant in range(VARIANTS):
            sample = source[photo, variant]
            wanted = encode_pictures(
                teacher,
                torch.tensor(sample.image)[None],
                torch.tensor(sample.mask)[None],
                is_masked=True,
            )
            found = file.read(photo, variant)
            assert found is not None
            for name, latents in wanted.items():
                np.testing.assert_allclose(found[name], latents[0].numpy(), rtol=1e-3, atol=1e-4)


def test_encoded_pictures_are_those_that_sampling_prepares(
    protocol: Protocol, teacher: Teacher
) -> None:
    from sdsearch_eval.data import load_samples
    from sdsearch_eval.sampling import images_to_tensor, prepare_inputs

    samples = load_samples(protocol)
    images, holes = (
        np.stack(rows) for rows in zip(*((s.image, s.mask) for s in samples), strict=True)
    )
    found = encode_pictures(teacher, torch.tensor(images), torch.tensor(holes), is_masked=True)
    inputs = prepare_inputs(teacher, samples, 0)
    assert torch.equal(found["clean"], teacher.encode_images(images_to_tensor(images)))
    assert torch.equal(found["masked"], inputs.masked_latents)
    assert torch.equal(found["masks"], inputs.masks)


def test_a_killed_filling_goes_on_and_two_processes_fill_what_one_does(
    protocol: Protocol, teacher: Teacher, tmp_path: Path
) -> None:
    source = open_source(protocol, RECIPE, 0)
    whole = filled(tmp_path / "whole.bin", source, teacher)
    shared = filled(tmp_path / "shared.bin", source, teacher, World(0, 2), World(1, 2))
    assert shared.path.read_bytes() == whole.path.read_bytes()
    file = LatentFile(tmp_path / "killed.bin", 5, VARIANTS, shape_of(teacher), is_masked=True)
    file.make()

    def kill(done: int, total: int) -> None:
        assert total == -(-5 * VARIANTS // BLOCK)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_latents(file, source, teacher, World(), 0, kill)
    assert file.missing() == [1]
    file.make()  # as the next run does
    fill_latents(file, source, teacher, World(), 0, lambda done, total: None)
    assert file.path.read_bytes() == whole.path.read_bytes()


def test_the_stream_takes_the_variants_in_turn_and_reads_no_photo(
    protocol: Protocol, teacher: Teacher, tmp_path: Path, monkeypatch: Any
) -> None:
    source = open_source(protocol, RECIPE, 0)
    file = filled(tmp_path / "latents.bin", source, teacher)
    monkeypatch.setattr(
        "sdsearch_eval.recovery.sources.open_picture", lambda _: pytest.fail("read a photo")
    )
    pictures = Pictures(source, RECIPE, 0, shape_of(teacher), file)
    order = Order(0, source.count, 4)
    for step, batch in enumerate(open_stream(pictures, order, range(6), World(), 0)):
        turns = order.turns(step, World())
        assert batch.captions == [f"picture {turn.picture + 2}" for turn in turns]
        for row, turn in enumerate(turns):
            record = file.read(turn.picture, turn.epoch % VARIANTS)
            assert record is not None
            for name, latents in record.items():
                assert np.array_equal(batch.pictures[name][row].numpy(), latents)


def test_latents_are_encoded_and_learned_on_a_gpu(
    protocol: Protocol, teacher: Teacher, tmp_path: Path
) -> None:
    source = open_source(protocol, RECIPE, 0)
    here = filled(tmp_path / "here.bin", source, teacher)
    pictures = Pictures(source, RECIPE, 0, shape_of(teacher), here)
    (batch,) = open_stream(pictures, Order(0, 5, 4), range(1), World(), 0)
    arch = tiny_member("bk-tiny")
    with pretended_gpu():
        on_gpu = load_teacher(open_pipeline("tiny"), GPU)
        there = filled(tmp_path / "there.bin", source, on_gpu, World(device=GPU))
        student = on_gpu.student(arch)
        loss = Tutor(arch, on_gpu, RECIPE).losses(student, student, batch)["output"]
        loss.backward()
        assert student.conv_in.weight.grad.device == GPU
    for photo in range(5):
        found, wanted = (file.read(photo, 2) for file in (there, here))
        assert found is not None
        assert wanted is not None
        for name in ("clean", "masked", "masks"):
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-2, atol=1e-3)


def test_a_photo_that_cannot_be_read_is_refused_or_the_next_one_stands_in(
    protocol: Protocol, teacher: Teacher, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "4.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"4\.png cannot be read"):
        filled(tmp_path / "refused.bin", open_source(protocol, RECIPE, 0), teacher)
    source = open_source(protocol.model_copy(update={"unreadable": "skip"}), RECIPE, 0)
    file = filled(tmp_path / "skipped.bin", source, teacher)
    assert [file.read(photo, 0) is None for photo in range(5)] == [False, False, True, False, False]
    pictures = Pictures(source, RECIPE, 0, shape_of(teacher), file)
    batches = open_stream(pictures, Order(0, 5, 4), range(5), World(), 0)
    captions = [caption for batch in batches for caption in batch.captions]
    assert {text: captions.count(text) for text in captions} == {
        "picture 2": 4,
        "picture 3": 4,
        "picture 5": 8,
        "picture 6": 4,
    }


def test_a_file_that_the_disk_has_no_room_for_is_not_made(tmp_path: Path) -> None:
    file = LatentFile(tmp_path / "latents.bin", 10**9, 10**3, (4, 64, 64), is_masked=True)
    with pytest.raises(OSError, match=r"No space|too large"):
        file.make()
    assert list(tmp_path.iterdir()) == []


def test_of_four_channels_only_the_clean_latents_are_kept(tmp_path: Path) -> None:
    masked = LatentFile(tmp_path / "a.bin", 16, 1, (4, 8, 8), is_masked=True)
    clean = LatentFile(tmp_path / "b.bin", 16, 1, (4, 8, 8), is_masked=False)
    for file in (masked, clean):
        file.make()
    assert masked.path.stat().st_size == 16 * (1 + 2 * 4 * 64 * 2 + 64 + SEAL_BYTES) + 2 + 8
    assert clean.path.stat().st_size == 16 * (1 + 4 * 64 * 2 + SEAL_BYTES) + 2 + 8
