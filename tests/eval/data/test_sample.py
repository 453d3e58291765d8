from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch_eval.data.metadata import read_prompts
from sdsearch_eval.data.sample import choose_prompts
from sdsearch_eval.data.samples import load_recovery_samples, load_samples
from sdsearch_eval.data.tasks import read_tasks


def write(folder, name, text, encoding="utf-8"):
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.txt", "a red house\n\n  two   trees \r\nnull\n", "utf-8"),
        ("a.txt", "\ufeffa red house\ntwo trees", "utf-8"),
        ("a.txt", "a red house\ntwo trees", "utf-16"),
        ("a.jsonl", '{"prompt": "a red house"}\n\n{"prompt": "two trees", "id": 3}\n', "utf-8"),
        ("a.jsonl", '{"text": "a red house"}\n{"text": ["two trees", "more"]}\n', "utf-8"),
        ("A.JSONL", '{"Caption": "a red house"}\n{"Caption": "two trees"}\n', "utf-8"),
    ],
)
def test_prompts_are_read_in_order_whatever_wrote_them(tmp_path, name, text, encoding):
    assert read_prompts(write(tmp_path, name, text, encoding)) == ("a red house", "two trees")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "\n\n", "no line with one"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": null}\n', "line 2 must have a prompt"),
        ("a.jsonl", '{"prompt": 3}\n', "line 1 must have words"),
        ("a.jsonl", '["x"]\n', "line 1 must be one JSON object"),
        ("a.jsonl", '{"id": 3}\n', "with the prompts"),
        ("a.txt", "fine\nbell\x07\n", "line 2 must hold plain text"),
    ],
)
def test_a_file_that_holds_no_prompts_is_refused_with_its_line(tmp_path, name, text, words):
    with pytest.raises(InputError, match=words):
        read_prompts(write(tmp_path, name, text))


def test_prompts_that_are_not_there_or_too_few_are_named(tmp_path):
    with pytest.raises(InputError, match="no file here"):
        read_prompts(tmp_path / "none.txt")
    file = write(tmp_path, "a.txt", "one\ntwo\n")
    protocol = Protocol(task="text-to-image", samples=6, variations=2, prompts=str(file))
    with pytest.raises(InputError, match=r"has 2 prompts, and 3 are needed"):
        choose_prompts(protocol)


def test_each_prompt_is_painted_in_its_variations_under_names_of_their_own(tmp_path):
    file = write(tmp_path, "a.txt", "one\none\n")
    protocol = Protocol(task="text-to-image", samples=4, variations=2, prompts=str(file))
    samples = load_samples(protocol)
    assert [sample.caption for sample in samples] == ["one"] * 4
    assert len({sample.name for sample in samples}) == 4
    assert all((sample.mask == 255).all() for sample in samples)


def test_captions_of_scenes_are_prompts_beside_their_pictures():
    words = load_samples(Protocol(task="text-to-image", samples=2))
    holes = load_samples(Protocol(samples=2))
    assert [one.caption for one in words] == [one.caption for one in holes]
    assert all(
        np.array_equal(one.image, other.image) for one, other in zip(words, holes, strict=True)
    )


SIDE = 64


def photograph(folder, size, number=0):
    """A photo of noise, so that no two of its places look alike, with a caption: (H, W, 3)."""
    folder.mkdir(exist_ok=True)
    width, height = size
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / f"{number}.txt").write_text(f"picture {number}")
    return pixels


def mask_file(folder, size, box, name="0.png"):
    folder.mkdir(exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(255, box)
    mask.save(folder / name)
    return np.asarray(mask)


def around_holes(folder, **settings):
    told = {"dataset": str(folder), "crop": "hole", "samples": 2, "masks": "thick"}
    return Protocol(**{**told, **settings})


@pytest.fixture
def photos(tmp_path):
    """Four photos, wide and high, of which two are evaluated."""
    folder = tmp_path / "photos"
    sizes = ((192, 128), (128, 256), (300, 100), (64, 64))
    return folder, [photograph(folder, size, number) for number, size in enumerate(sizes)]


def test_a_cropped_sample_is_the_padded_square_around_the_hole_in_the_photos_own_pixels(
    photos, tmp_path
):
    folder, pixels = photos
    boxes = ((100, 20, 150, 60), (0, 100, 30, 130))
    for number, box in enumerate(boxes):
        height, width = pixels[number].shape[:2]
        mask_file(tmp_path / "masks", (width, height), box, f"{number}.png")
    for number in (2, 3):
        height, width = pixels[number].shape[:2]
        mask_file(tmp_path / "masks", (width, height), (8, 8, 40, 40), f"{number}.png")
    protocol = around_holes(folder, masks=str(tmp_path / "masks"), crop_padding=16)
    for sample, box, photo in zip(load_samples(protocol), boxes, pixels, strict=False):
        left, upper, right, lower = sample.cutout.box
        assert right - left == lower - upper == {0: 82, 1: 62}[boxes.index(box)]
        assert np.array_equal(sample.original, photo[upper:lower, left:right])
        rows, columns = np.nonzero(sample.hole)
        found = (columns.min() + left, rows.min() + upper, columns.max() + left + 1)
        assert (*found, rows.max() + upper + 1) == box
        assert sample.share == pytest.approx(sample.hole.sum() / photo[..., 0].size)
        assert sample.image.shape == (SIDE, SIDE, 3)
        assert sample.mask.shape == (SIDE, SIDE)


def test_a_drawn_hole_is_the_same_under_either_crop(tmp_path):
    folder = tmp_path / "photos"
    for number in range(2):
        photograph(folder, (3 * SIDE, 2 * SIDE), number)
    whole = load_samples(around_holes(folder, crop="whole"))
    for one, other in zip(whole, load_samples(around_holes(folder)), strict=True):
        assert (one.name, one.caption) == (other.name, other.caption)
        left, upper, right, lower = other.cutout.box
        native = np.zeros((2 * SIDE, 3 * SIDE), bool)
        native[upper:lower, left:right] = other.hole
        square = native[:, SIDE // 2 : SIDE // 2 + 2 * SIDE]
        assert square.sum() == native.sum()
        assert np.array_equal(square, np.kron(one.mask == 255, np.ones((2, 2), bool)))


def test_a_small_hole_is_painted_with_more_pixels_and_seen_in_detail(tmp_path):
    folder, size, box = tmp_path / "photos", (512, 512), (200, 240, 240, 280)
    rows, columns = np.indices(size)
    stripes = np.where((rows + columns) // 2 % 2, np.uint8(255), np.uint8(0))
    folder.mkdir()
    for number in range(2):
        Image.fromarray(np.repeat(stripes[..., None], 3, axis=2)).save(folder / f"{number}.png")
        mask_file(tmp_path / "masks", size, box, f"{number}.png")
    protocol = around_holes(folder, masks=str(tmp_path / "masks"), crop_padding=12)
    (near, _) = load_samples(protocol)
    far = load_samples(Protocol(**{**protocol.model_dump(), "crop": "whole", "crop_padding": 32}))[
        0
    ]
    assert (near.mask == 255).sum() == 40 * 40
    assert (far.mask == 255).sum() == 5 * 5
    # The crop has 64 pixels a side, as many as are painted: who paints the truth is right.
    assert np.array_equal(near.paste(near.image), near.original)
    assert near.image[near.mask == 255].std() > 100
    assert far.image[far.mask == 255].std() < 20
    assert near.share == 40 * 40 / 512**2


def test_what_is_recovered_on_is_cropped_alike_and_holds_no_more_than_is_seen(photos):
    folder, _ = photos
    learned = load_recovery_samples(around_holes(folder), 2)
    evaluated = load_samples(around_holes(folder, samples=4))[2:]
    assert [sample.name for sample in learned] == ["2.png", "3.png"]
    for one, other in zip(learned, evaluated, strict=True):
        assert one.cutout is None
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.mask, other.mask)


def test_a_mask_of_the_cropped_photo_lies_on_its_centre_square(tmp_path):
    folder = tmp_path / "photos"
    for number in range(2):
        photograph(folder, (192, 128), number)
        mask_file(tmp_path / "masks", (64, 64), (0, 0, 16, 16), f"{number}.png")
    settings = {"masks": str(tmp_path / "masks"), "mask_geometry": "cropped"}
    sample = load_samples(around_holes(folder, **settings))[0]
    assert sample.cutout.box == (0, 0, 96, 96)
    rows, columns = np.nonzero(sample.hole)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (32, 63, 0, 31)


@pytest.mark.parametrize(
    ("size", "box", "words"),
    [
        ((128, 128), (8, 8, 40, 40), "aspect"),
        ((192, 128), (0, 0, 192, 128), "hole fraction"),
        ((192, 128), (0, 0, 0, 0), "empty"),
    ],
)
def test_a_mask_file_passes_the_same_gates_at_the_size_of_its_photo(tmp_path, size, box, words):
    for number in range(2):
        photograph(tmp_path / "photos", (192, 128), number)
        mask_file(tmp_path / "masks", size, box, f"{number}.png")
    with pytest.raises(InputError, match=words):
        load_samples(around_holes(tmp_path / "photos", masks=str(tmp_path / "masks")))


def test_a_hole_beside_the_centre_square_is_no_matter_where_it_is_cropped(tmp_path):
    for number in range(2):
        photograph(tmp_path / "photos", (400, 100), number)
        mask_file(tmp_path / "masks", (400, 100), (10, 10, 40, 40), f"{number}.png")
    sample = load_samples(around_holes(tmp_path / "photos", masks=str(tmp_path / "masks")))[0]
    assert sample.hole.sum() == 30 * 30


@pytest.mark.parametrize(("width", "height"), [(90, 31), (2600, 40)])
def test_a_photo_without_surroundings_is_refused_by_name(tmp_path, width, height):
    for number in range(2):
        photograph(tmp_path / "photos", (width, height), number)
    with pytest.raises(InputError, match=rf"32 pixels a side.*'0\.png' is {width} x {height}"):
        load_samples(around_holes(tmp_path / "photos"))


def test_scenes_are_as_large_as_they_are_drawn():
    for sample in load_samples(Protocol(samples=4, crop="hole", crop_padding=8)):
        left, upper, right, lower = sample.cutout.box
        assert 0 <= left < right <= SIDE
        assert sample.original.shape == (lower - upper, right - left, 3)


def test_what_is_painted_comes_back_at_the_size_of_the_original(photos):
    folder, _ = photos
    for sample in load_samples(around_holes(folder, samples=4)):
        grey = np.full((SIDE, SIDE, 3), 90, np.uint8)
        pasted = sample.paste(grey)
        assert (pasted[sample.hole] == 90).all()
        assert np.array_equal(pasted[~sample.hole], sample.original[~sample.hole])


@pytest.mark.parametrize("hole", ["box:5,9,3,7", "auto:thin", "auto:box"])
def test_pipelines_of_unlike_sizes_paint_around_the_same_described_hole(hole, tmp_path):
    file = tmp_path / "photo.png"
    Image.effect_noise((300, 200), 60).convert("RGB").save(file)
    (one,), (other,) = (
        read_tasks([file], [hole], ["a photo"], size, unit=64, padding=16) for size in (64, 512)
    )
    assert one.cutout.box == other.cutout.box
    assert np.array_equal(one.hole, other.hole)
    assert np.array_equal(one.original, other.original)
    assert (one.image.shape, other.image.shape) == ((64, 64, 3), (512, 512, 3))
