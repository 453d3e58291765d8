from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch_eval.data.listing import list_dataset
from sdsearch_eval.data.photos import open_picture, square_image
from sdsearch_eval.data.samples import (
    load_dataset,
    load_recovery_samples,
    load_samples,
    manifest_sha256,
)
from sdsearch_eval.jobs import workspace as job
from tests.eval.desk import label_all
from tests.eval.jobs.test_processes import make_study, write_list

PHOTO_TOML = """
[protocol]
dataset = "FOLDER"
masks = "thick"
samples = 6
block_size = 4
steps = 2
threads = 1
feature_size = 32
recovery = { steps = 1, batch_size = 2 }
"""

RED = (200, 40, 40)


def save(folder, name, image, **options):
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **options)


def read_photos(folder, size=32):
    """Every photo of a folder, by name."""
    return {
        case.name: square_image(open_picture(case.photo), size)
        for case in list_dataset(folder).cases
    }


def centre(image):
    half = image.shape[0] // 2
    return image[half, half].tolist()


def test_photos_opened_at_once_leave_pillows_limit_as_it_was(tmp_path):
    save(tmp_path, "a.png", Image.new("RGB", (9, 6), RED))
    limit = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(open_picture, [tmp_path / "a.png"] * 400))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_photos_come_in_order_of_their_names_squared_and_resized(tmp_path):
    for name in ("b.png", "a.jpg", "c.webp"):
        save(tmp_path, name, Image.new("RGB", (90, 60), RED))
    (tmp_path / "notes.txt").write_text("no image")
    photos = read_photos(tmp_path)
    assert list(photos) == ["a.jpg", "b.png", "c.webp"]
    for image in photos.values():
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
        assert np.abs(np.array(centre(image)) - RED).max() <= 6


def test_captions_come_from_metadata_by_file_name(tmp_path):
    for name in ("a.png", "b.png"):
        save(tmp_path, name, Image.new("RGB", (32, 32), RED))
    line = json.dumps({"file_name": "b.png", "text": "a <b>house</b>"})
    (tmp_path / "metadata.jsonl").write_text(line + "\n")
    samples = load_samples(Protocol(dataset=str(tmp_path), masks="box", samples=2))
    assert [sample.caption for sample in samples] == ["", "a <b>house</b>"]


def test_an_image_turned_by_its_exif_tag_is_turned_back(tmp_path):
    image = Image.new("RGB", (40, 40), (0, 0, 0))
    image.paste(RED, (0, 0, 40, 20))  # red above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    save(tmp_path, "a.jpg", image, exif=exif, quality=95)
    picture = read_photos(tmp_path, 40)["a.jpg"]
    assert picture[30, 20, 0] > 150
    assert picture[5, 20, 0] < 60


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
def test_every_common_mode_becomes_three_channels(tmp_path, mode):
    image = Image.new("RGB", (32, 32), (255, 255, 255)).convert(mode)
    suffix = "a.tif" if mode == "CMYK" else "a.png"
    save(tmp_path, suffix, image)
    (photo,) = read_photos(tmp_path).values()
    assert photo.shape == (32, 32, 3)
    assert min(centre(photo)) > 245


def test_a_16_bit_image_keeps_its_brightness(tmp_path):
    pixels = np.full((32, 32), 32_768, np.uint16)
    save(tmp_path, "a.png", Image.fromarray(pixels))
    (photo,) = read_photos(tmp_path).values()
    assert all(120 <= value <= 136 for value in centre(photo))


def test_transparent_pixels_are_shown_on_white_and_not_on_what_hides_below(tmp_path):
    image = Image.new("RGBA", (32, 32), (10, 200, 10, 0))
    image.putpixel((0, 0), (10, 200, 10, 255))
    save(tmp_path, "a.png", image)
    (photo,) = read_photos(tmp_path).values()
    assert centre(photo) == [255, 255, 255]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n0000"])
def test_an_unreadable_image_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.png"):
        read_photos(tmp_path)


def test_a_truncated_image_is_named(tmp_path):
    save(tmp_path, "cut.png", Image.effect_noise((64, 64), 50))
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\.png"):
        read_photos(tmp_path)


def test_all_unreadable_images_are_listed_or_skipped_as_the_policy_says(tmp_path):
    for name in ("a.png", "d.png"):
        save(tmp_path, name, Image.effect_noise((64, 64), 50))
    for name in ("b.png", "c.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    refusing = Protocol(dataset=str(tmp_path), masks="box", samples=3)
    with pytest.raises(InputError, match=r"b\.png.*c\.jpg.*skip"):
        load_samples(refusing)
    skipping = refusing.model_copy(update={"samples": 2, "unreadable": "skip"})
    dataset = load_dataset(skipping, 0)
    assert [sample.name for sample in dataset.samples] == ["a.png", "d.png"]
    assert list(dataset.manifest.unreadable) == ["b.png", "c.jpg"]
    assert str(dataset.manifest) == (
        "2 photos, 0 masks, 2 files left out: b.png, c.jpg (unreadable)"
    )


def photographs(folder, rng):
    """Seven 720 x 360 JPEGs, and among them a truncated one, an RGBA and a CMYK image."""
    for number in range(7):
        low = rng.integers(0, 256, (9, 18, 3), dtype=np.uint8)
        image = Image.fromarray(low).resize((720, 360), Image.Resampling.BICUBIC)
        image.save(folder / f"photo-{number}.jpg", quality=90)
    whole = (folder / "photo-3.jpg").read_bytes()
    (folder / "photo-3-cut.jpg").write_bytes(whole[: len(whole) // 3])
    image.convert("RGBA").save(folder / "photo-5-alpha.png")
    image.convert("CMYK").save(folder / "photo-6-print.jpg")


def test_ordinary_photographs_are_labelled_and_a_broken_one_is_handled_as_told(
    tmp_path, teacher, monkeypatch, capsys
):
    photos = tmp_path / "photos"
    photos.mkdir()
    photographs(photos, np.random.default_rng(3))
    monkeypatch.setattr(job, "load_teacher", lambda *_: teacher)
    toml = PHOTO_TOML.replace("FOLDER", str(photos))
    refusing = make_study(tmp_path / "refusing", toml)
    write_list(refusing)
    with pytest.raises(InputError, match=r"photo-3-cut\.jpg"):
        label_all(refusing)
    skipping = make_study(tmp_path / "skipping", toml + 'unreadable = "skip"\n')
    write_list(skipping)
    label_all(skipping)
    (label,) = skipping.labels.read_all()
    assert label.status == "ok", str(label.failure)
    assert label.values["psnr_hole"].n == 6
    assert label.provenance["skipped_images"] == ["photo-3-cut.jpg"]
    assert "photo-3-cut.jpg" in capsys.readouterr().err


def test_a_missing_folder_and_a_missing_mask_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        read_photos(tmp_path / "nowhere")
    dataset = photos(tmp_path / "p", 2)
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match=r"m/0\.png"):
        load_samples(Protocol(dataset=dataset, masks=str(tmp_path / "m"), samples=2))


def photos(folder, count):
    for number in range(count):
        save(folder, f"{number}.png", Image.new("RGB", (64, 64), (number * 20, 90, 90)))
    return str(folder)


def test_recovery_never_sees_an_evaluated_photo(tmp_path):
    protocol = Protocol(dataset=photos(tmp_path / "p", 6), masks="box", samples=4)
    evaluated = {sample.name for sample in load_samples(protocol)}
    learned = {sample.name for sample in load_recovery_samples(protocol, 99)}
    assert evaluated == {"0.png", "1.png", "2.png", "3.png"}
    assert learned == {"4.png", "5.png"}
    everything = protocol.model_copy(update={"samples": 6})
    with pytest.raises(InputError, match=r"recovery\.steps = 0"):
        load_recovery_samples(everything, 99)


def test_too_few_photos_say_how_many_there_are(tmp_path):
    protocol = Protocol(dataset=photos(tmp_path / "p", 3), masks="box", samples=4)
    with pytest.raises(InputError, match=r"4 samples.*3 images"):
        load_samples(protocol)


def test_masks_of_photos_come_from_a_folder_by_stem(tmp_path):
    dataset = photos(tmp_path / "p", 2)
    for number in range(2):
        mask = np.zeros((64, 64), np.uint8)
        mask[: 8 * (number + 1)] = 255
        save(tmp_path / "m", f"{number}.png", Image.fromarray(mask))
    protocol = Protocol(dataset=dataset, masks=str(tmp_path / "m"), samples=2)
    assert [(s.mask == 255).sum() for s in load_samples(protocol)] == [8 * 64, 16 * 64]


def test_the_manifest_follows_pixels_captions_masks_names_and_order():
    samples = load_samples(Protocol(samples=3))
    first = manifest_sha256(samples)
    assert manifest_sha256(load_samples(Protocol(samples=3))) == first
    from dataclasses import replace

    image = samples[0].image.copy()
    image[0, 0, 0] ^= 1
    mask = 255 - samples[0].mask
    changed = [
        [replace(samples[0], image=image), *samples[1:]],
        [replace(samples[0], caption="else"), *samples[1:]],
        [replace(samples[0], mask=mask), *samples[1:]],
        [replace(samples[0], name="else"), *samples[1:]],
        samples[::-1],
        samples[:2],
    ]
    assert len({first, *map(manifest_sha256, changed)}) == 7


def test_fewer_samples_are_the_first_of_more():
    few, more = load_samples(Protocol(samples=3)), load_samples(Protocol(samples=6))
    assert (len(few), len(more)) == (3, 6)
    for one, same in zip(few, more[:3], strict=True):
        assert one.name == same.name
        assert (one.image == same.image).all()
        assert (one.mask == same.mask).all()


def test_evaluated_and_recovery_scenes_are_disjoint():
    protocol = Protocol(samples=4)
    names = {sample.name for sample in load_samples(protocol)}
    assert not names & {sample.name for sample in load_recovery_samples(protocol, 4)}
