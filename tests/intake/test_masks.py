"""Masks as people have them: what each file means, or why it is refused, alike everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sdsearch import create_study
from sdsearch.errors import InputError
from sdsearch.labels import Protocol
from sdsearch_eval.app.actions import read_upload
from sdsearch_eval.data import (
    Frame,
    MaskReading,
    list_photos,
    load_recovery_samples,
    load_samples,
    read_tasks,
)
from sdsearch_eval.data.listing import list_dataset

SIZE = 64
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
HOLE = np.zeros((SIZE, SIZE), np.uint8)
HOLE[8:24, 16:52] = 255  # 14 % of the picture
OUTSIDE = Image.fromarray(255 - HOLE)
VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def with_alpha(colour, alpha):
    image = Image.new("RGBA", (SIZE, SIZE), colour)
    image.putalpha(Image.fromarray(alpha))
    return image


def stroke(colour, paper=(0, 0, 0, 0)):
    image = Image.new("RGBA", (SIZE, SIZE), paper)
    image.paste(colour, (16, 8, 52, 24))
    return image


def cut_out(photo=PHOTO):
    image = Image.fromarray(photo)
    image.putalpha(OUTSIDE)
    return image


def with_palette(indices, palette):
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(palette)
    return image


def grey_and_alpha(grey, alpha):
    return Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])


def dataset(folder, photo, mask, suffix="png"):
    """Two photos with the same mask, in two folders."""
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for stem in "ab":
        photo.save(folder / "photos" / f"{stem}.png")
        mask.save(folder / "masks" / f"{stem}.{suffix}")
    return folder


def read_everywhere(folder, convention="canonical", geometry="photo", size=SIZE):
    """The sample of a photo and its mask as labels, `compare` and the app have it."""
    photos, masks = folder / "photos", folder / "masks"
    protocol = Protocol(
        dataset=str(photos),
        masks=str(masks),
        samples=2,
        resolution=size,
        mask_convention=convention,
        mask_geometry=geometry,
    )
    label = load_samples(protocol)[0]
    reading = MaskReading(convention, geometry)
    compared = read_tasks([photos], [str(masks)], [], size, reading)[0]
    single = read_tasks([photos / "a.png"], [str(next(masks.glob("a.*")))], [], size, reading)[0]
    for other in (compared, single):
        np.testing.assert_array_equal(other.mask, label.mask)
        np.testing.assert_array_equal(other.image, label.image)
    with Image.open(photos / "a.png") as image:
        if image.size == (size, size):
            brushed = read_upload(image, label.mask, "", Frame(size))
            np.testing.assert_array_equal(brushed.mask, label.mask)
            np.testing.assert_array_equal(brushed.image, label.image)
    return label


MEANT = {
    "white on black": (Image.fromarray(HOLE), "canonical"),
    "one bit": (Image.fromarray(HOLE).convert("1"), "canonical"),
    "RGB": (Image.fromarray(HOLE).convert("RGB"), "canonical"),
    "16 bits": (Image.fromarray(HOLE.astype(np.uint16) * 257), "canonical"),
    "0 and 255 in 16 bits": (Image.fromarray(HOLE.astype(np.uint16)), "canonical"),
    "grey palette": (Image.fromarray(HOLE).convert("P"), "canonical"),
    "palette whose colours are swapped": (with_palette(HOLE, [255] * 3 + [0] * 765), "canonical"),
    "alpha that is the same everywhere": (
        Image.fromarray(HOLE).convert("RGBA"),
        "canonical",
    ),
    "photo cut out": (cut_out(), "canonical"),
    "photo cut out, MAT": (cut_out(), "mat"),
    "grey photo cut out": (grey_and_alpha(PHOTO[..., 0], 255 - HOLE), "canonical"),
    "white on transparent white": (with_alpha("white", HOLE), "canonical"),
    "white on transparent black": (stroke("white"), "canonical"),
    "red stroke": (stroke("red"), "canonical"),
    "red stroke, LaMa": (stroke("red"), "lama"),
    "red stroke, RePaint": (stroke("red"), "repaint"),
    "black stroke, RePaint": (stroke("black", (255, 255, 255, 0)), "repaint"),
    "white LA": (grey_and_alpha(np.full_like(HOLE, 255), HOLE), "canonical"),
    "0 and 1, LaMa": (Image.fromarray(HOLE // 255), "lama"),
    "0 and 1 in 16 bits, LaMa": (Image.fromarray((HOLE // 255).astype(np.uint16)), "lama"),
    "numbers of objects, LaMa": (with_palette(HOLE // 85, VOC), "lama"),
}


@pytest.mark.parametrize(("mask", "convention"), MEANT.values(), ids=MEANT)
def test_a_mask_means_the_same_hole_in_labels_compare_and_app(tmp_path, mask, convention):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), mask)
    np.testing.assert_array_equal(read_everywhere(folder, convention).mask, HOLE)


def product(*others):
    """A photo of few colours: a red thing on white, with boxes of other colours."""
    photo = np.full((SIZE, SIZE, 3), 255, np.uint8)
    photo[HOLE == 255] = (200, 30, 30)
    for box, colour in others:
        left, top, right, bottom = box
        photo[top:bottom, left:right] = colour
    return photo


TABLE = ((0, 48, 64, 64), (90, 60, 30))


@pytest.mark.parametrize("convention", ["canonical", "lama", "repaint"])
@pytest.mark.parametrize("side", [SIZE, SIZE // 2])
@pytest.mark.parametrize("hidden", ["kept", "zeroed", "white"])
def test_a_thing_erased_from_a_photo_of_few_colours_is_the_hole(tmp_path, convention, side, hidden):
    photo = product(TABLE)
    erased = photo.copy()
    if hidden != "kept":
        erased[HOLE == 255] = 0 if hidden == "zeroed" else 255
    mask = cut_out(erased).resize((side, side), Image.Resampling.NEAREST)
    folder = dataset(tmp_path, Image.fromarray(photo), mask)
    np.testing.assert_array_equal(read_everywhere(folder, convention).mask, HOLE)


def test_what_is_left_around_a_thing_is_no_stroke_where_the_thing_is_under_it(tmp_path):
    folder = dataset(tmp_path, Image.fromarray(product()), cut_out(product()))
    np.testing.assert_array_equal(read_everywhere(folder).mask, HOLE)


@pytest.mark.parametrize("hidden", [0, 255])
def test_one_colour_that_the_photo_has_too_is_no_stroke_for_certain(tmp_path, hidden):
    erased = product()
    erased[HOLE == 255] = hidden
    folder = dataset(tmp_path, Image.fromarray(product()), cut_out(erased))
    with pytest.raises(InputError, match=r"a\.png has one colour .* may be a stroke"):
        read_everywhere(folder)


def test_a_stroke_in_another_colour_than_the_few_of_its_photo_is_the_hole(tmp_path):
    folder = dataset(tmp_path, Image.fromarray(product(TABLE)), stroke("blue"))
    np.testing.assert_array_equal(read_everywhere(folder).mask, HOLE)


RAMP = np.where(HOLE, np.arange(SIZE, dtype=np.uint8) + 100, 7).astype(np.uint8)
WHITE_GROUND = [255, 255, 255, 0, 0, 0]
BLACK_GROUND = [0, 0, 0, 255, 255, 255]
ADVICE = {
    "0 and 1": (Image.fromarray(HOLE // 255), "lama"),
    "soft": (Image.fromarray(RAMP), "diffusers"),
    "few values": (Image.fromarray(HOLE // 85), None),
    "palette on black": (with_palette(HOLE // 255, BLACK_GROUND), "lama"),
    "palette on white": (with_palette(HOLE // 255, WHITE_GROUND), None),
    "numbers of objects on black": (with_palette(HOLE // 85, VOC), "lama"),
}


@pytest.mark.parametrize("convention", ["canonical", "mat", "repaint"])
@pytest.mark.parametrize(("mask", "offered"), ADVICE.values(), ids=ADVICE)
def test_no_advice_would_turn_a_mask_inside_out(tmp_path, mask, offered, convention):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), mask)
    with pytest.raises(InputError) as refused:
        read_everywhere(folder, convention)
    said = str(refused.value)
    named = {other for other in ("lama", "diffusers") if f"'{other}'" in said}
    assert named == ({offered} - {None} if convention == "canonical" else set())
    if "for what is repainted" in said:
        hole, rest = (255, 0) if convention == "canonical" else (0, 255)
        assert f"{hole} for what is repainted and {rest} for the rest" in said


@pytest.mark.parametrize(
    ("convention", "value", "other"),
    [("canonical", 255, "repaint"), ("mat", 0, "canonical"), ("repaint", 0, "canonical")],
)
def test_a_mask_that_may_be_inverted_is_told_the_opposite_convention(
    tmp_path, convention, value, other
):
    mask = Image.fromarray(np.full_like(HOLE, value))
    folder = dataset(tmp_path, Image.fromarray(PHOTO), mask)
    with pytest.raises(InputError, match=f"{value} marks .* mask_convention = '{other}'"):
        read_everywhere(folder, convention)


FLOATS = Image.fromarray((HOLE / 255).astype(np.float32))
SOFT = Image.fromarray((HOLE * 0.6).astype(np.uint8))
REFUSED = {
    "0 and 1": (Image.fromarray(HOLE // 255), "canonical", "values 0, 1; multiply it by 255"),
    "0 and 1, diffusers": (Image.fromarray(HOLE // 255), "diffusers", "values 0, 1; multiply"),
    "0 and 1, MAT": (Image.fromarray(1 - HOLE // 255), "mat", "values 0, 1; multiply it by 255"),
    "0 and 1 in 16 bits": (
        Image.fromarray((HOLE // 255).astype(np.uint16)),
        "canonical",
        "values 0, 1; multiply it by 65535",
    ),
    "VOC": (with_palette(HOLE // 85, VOC), "canonical", "indices of a palette 0, 3; .*greyscale"),
    "numbers of objects": (
        Image.fromarray(HOLE // 85),
        "canonical",
        "values 0, 3; .*numbers of objects",
    ),
    "a palette of black and white": (
        with_palette(HOLE // 255, [0, 0, 0, 255, 255, 255]),
        "canonical",
        "indices of a palette 0, 1; .*greyscale",
    ),
    "soft": (SOFT, "canonical", "values 0, 153; threshold it"),
    "soft alpha": (with_alpha("red", np.asarray(SOFT)), "canonical", "values 0, 153; threshold"),
    "colours": (stroke("red").convert("RGB"), "canonical", r"must be grey.*\(255, 0, 0\)"),
    "black stroke": (stroke("black"), "canonical", "black where it is opaque"),
    "white stroke, MAT": (stroke("white"), "mat", "white where it is opaque"),
    "black and white under alpha": (
        grey_and_alpha(HOLE, np.where(np.arange(SIZE) < 32, 255, 0).astype(np.uint8) + 0 * HOLE),
        "canonical",
        "several colours",
    ),
    "the photo": (Image.fromarray(PHOTO), "lama", "shows the photo"),
}


@pytest.mark.parametrize(("mask", "convention", "message"), REFUSED.values(), ids=REFUSED)
def test_a_mask_with_two_meanings_is_refused_in_words(tmp_path, mask, convention, message):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), mask)
    masks = str(folder / "masks")
    protocol = Protocol(
        dataset=str(folder / "photos"), masks=masks, samples=2, mask_convention=convention
    )
    with pytest.raises(InputError, match=message) as labelling:
        load_samples(protocol)
    with pytest.raises(InputError, match=message):
        read_tasks([folder / "photos"], [masks], [], SIZE, MaskReading(convention))
    assert "a.png" in str(labelling.value)
    assert "inverted" not in str(labelling.value)


def test_floats_from_0_to_1_are_named_and_0_and_255_are_understood(tmp_path):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), FLOATS, "tif")
    with pytest.raises(InputError, match="values 0, 1; multiply it by 255"):
        read_everywhere(folder)
    np.testing.assert_array_equal(read_everywhere(folder, "lama").mask, HOLE)
    for stem in "ab":
        Image.fromarray(HOLE.astype(np.float32)).save(folder / "masks" / f"{stem}.tif")
    np.testing.assert_array_equal(read_everywhere(folder).mask, HOLE)


WIDE = RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)
WIDE_HOLE = np.zeros((64, 96), np.uint8)
WIDE_HOLE[8:40, 24:56] = 255


def test_a_mask_of_the_whole_photo_is_cropped_as_the_photo_is(tmp_path):
    photo, mask = Image.fromarray(WIDE), Image.fromarray(WIDE_HOLE)
    for scale in (1, 2):
        folder = tmp_path / str(scale)
        folder.mkdir()
        dataset(folder, photo, mask.resize((96 * scale, 64 * scale), Image.Resampling.NEAREST))
        sample = read_everywhere(folder)
        np.testing.assert_array_equal(sample.image, WIDE[:, 16:80])
        np.testing.assert_array_equal(sample.mask, WIDE_HOLE[:, 16:80])


def test_thin_strokes_survive_where_the_picture_is_scaled_down(tmp_path):
    mask = np.zeros((256, 256), np.uint8)
    mask[:, 101:103] = 255  # half of a pixel of 64
    photo = Image.fromarray(PHOTO).resize((256, 256))
    sample = read_everywhere(dataset(tmp_path, photo, Image.fromarray(mask)))
    assert np.flatnonzero(sample.mask.any(axis=0)).tolist() == [25]


def test_a_square_mask_beside_a_wide_photo_is_taken_only_where_its_meaning_is_said(tmp_path):
    square = Image.fromarray(WIDE_HOLE[:, 16:80])
    folder = dataset(tmp_path, Image.fromarray(WIDE), square)
    with pytest.raises(InputError, match=r"centre square.*mask_geometry = 'cropped'.*stretched"):
        read_everywhere(folder)
    sample = read_everywhere(folder, geometry="cropped")
    np.testing.assert_array_equal(sample.mask, WIDE_HOLE[:, 16:80])


def test_a_stretched_or_turned_mask_is_refused(tmp_path):
    mask = Image.fromarray(WIDE_HOLE)
    for name, wrong, message in (
        ("stretched", mask.resize((96, 80)), "stretched"),
        ("turned", mask.transpose(Image.Transpose.ROTATE_90), "turned"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        dataset(folder, Image.fromarray(WIDE), wrong)
        with pytest.raises(InputError, match=message):
            read_everywhere(folder)


UPRIGHT = {
    6: Image.Transpose.ROTATE_90,  # what is stored for a picture that is shown turned by 6
    8: Image.Transpose.ROTATE_270,
    5: Image.Transpose.TRANSPOSE,
    7: Image.Transpose.TRANSVERSE,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
}


def save_turned(folder, turn, mask):
    exif = Image.Exif()
    exif[0x0112] = turn
    for name in ("photos", "masks"):
        (folder / name).mkdir(exist_ok=True)
    for stem in "ab":
        stored = Image.fromarray(WIDE).transpose(UPRIGHT[turn])
        stored.save(folder / "photos" / f"{stem}.png", exif=exif)
        if mask == "shown":
            Image.fromarray(WIDE_HOLE).save(folder / "masks" / f"{stem}.png")
        else:
            raw = Image.fromarray(WIDE_HOLE).transpose(UPRIGHT[turn])
            raw.save(folder / "masks" / f"{stem}.png", exif=exif if mask == "tagged" else None)
    return folder


@pytest.mark.parametrize("turn", UPRIGHT)
def test_a_mask_turned_by_the_same_tag_as_its_photo_lies_right(tmp_path, turn):
    sample = read_everywhere(save_turned(tmp_path, turn, "tagged"))
    np.testing.assert_array_equal(sample.image, WIDE[:, 16:80])
    np.testing.assert_array_equal(sample.mask, WIDE_HOLE[:, 16:80])


@pytest.mark.parametrize("turn", [5, 6, 7, 8])
def test_a_mask_of_the_photo_as_shown_is_told_by_its_aspect(tmp_path, turn):
    sample = read_everywhere(save_turned(tmp_path, turn, "shown"))
    np.testing.assert_array_equal(sample.image, WIDE[:, 16:80])
    np.testing.assert_array_equal(sample.mask, WIDE_HOLE[:, 16:80])


@pytest.mark.parametrize("turn", UPRIGHT)
def test_a_mask_of_the_photo_as_stored_is_refused(tmp_path, turn):
    with pytest.raises(InputError, match="turned") as refused:
        read_everywhere(save_turned(tmp_path, turn, "stored"))
    assert f"EXIF orientation {turn}" in str(refused.value)


@pytest.mark.parametrize("turn", UPRIGHT)
def test_a_mask_of_the_cropped_photo_is_taken_only_where_its_turn_is_said(tmp_path, turn):
    folder = save_turned(tmp_path, turn, "stored")
    raw = Image.fromarray(WIDE_HOLE[:, 16:80]).transpose(UPRIGHT[turn])
    exif = Image.Exif()
    exif[0x0112] = turn
    for stem in "ab":
        raw.save(folder / "masks" / f"{stem}.png")
    with pytest.raises(InputError, match=f"EXIF orientation {turn} .* turned or mirrored"):
        read_everywhere(folder, geometry="cropped")
    for stem in "ab":
        raw.save(folder / "masks" / f"{stem}.png", exif=exif)
    sample = read_everywhere(folder, geometry="cropped")
    np.testing.assert_array_equal(sample.mask, WIDE_HOLE[:, 16:80])


def test_a_mask_with_a_tag_of_its_own_is_refused(tmp_path):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), Image.fromarray(HOLE))
    exif = Image.Exif()
    exif[0x0112] = 2
    Image.fromarray(HOLE).save(folder / "masks" / "a.png", exif=exif)
    with pytest.raises(InputError, match="EXIF orientation 2"):
        read_everywhere(folder)


def test_a_hole_outside_of_the_crop_is_named(tmp_path):
    mask = np.zeros((64, 96), np.uint8)
    mask[:, :8] = 255
    folder = dataset(tmp_path, Image.fromarray(WIDE), Image.fromarray(mask))
    with pytest.raises(InputError, match="centre square"):
        read_everywhere(folder)


def lama_folder(folder):
    folder.mkdir()
    for number in (1, 2):
        photo = np.roll(PHOTO, number)
        Image.fromarray(photo).save(folder / f"image{number}.png")
        Image.fromarray(np.roll(HOLE, number)).save(folder / f"image{number}_mask001.png")
    return folder


def test_lamas_layout_is_understood(tmp_path):
    folder = lama_folder(tmp_path / "lama")
    protocol = Protocol(dataset=str(folder), masks=str(folder), samples=2)
    assert str(list_photos(protocol)) == "2 photos, 2 masks, 0 files left out"
    tasks = read_tasks([folder], [str(folder)], [], SIZE)
    for number, sample, task in zip((1, 2), load_samples(protocol), tasks, strict=True):
        assert sample.name == task.name == f"image{number}.png"
        np.testing.assert_array_equal(sample.image, np.roll(PHOTO, number))
        np.testing.assert_array_equal(sample.mask, np.roll(HOLE, number))
        np.testing.assert_array_equal(task.image, sample.image)
        np.testing.assert_array_equal(task.mask, sample.mask)


def test_masks_beside_photos_are_never_photos(tmp_path):
    folder = lama_folder(tmp_path / "lama")
    Image.fromarray(HOLE).save(folder / "image1_mask002.png")
    Image.fromarray(HOLE).save(folder / "image9_mask001.png")
    drawn = Protocol(dataset=str(folder), masks="box", samples=2)
    assert [sample.name for sample in load_samples(drawn)] == ["image1.png", "image2.png"]
    assert str(list_photos(drawn)) == (
        "2 photos, 0 masks, 4 files left out: image1_mask001.png, image1_mask002.png, "
        "image2_mask001.png (a mask that is not used); image9_mask001.png (named as a mask, but "
        "there is no photo 'image9')"
    )
    read = drawn.model_copy(update={"masks": str(folder)})
    assert str(list_photos(read)).startswith(
        "2 photos, 2 masks, 2 files left out: image1_mask002.png (a mask that is not used)"
    )


def test_a_photo_is_never_its_own_mask(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for stem in "ab":
        Image.fromarray(PHOTO).save(folder / f"{stem}.png")
    protocol = Protocol(dataset=str(folder), masks=str(folder), samples=2)
    with pytest.raises(InputError, match=r"'a\.png' has no mask.*a_mask001\.png"):
        load_samples(protocol)
    with pytest.raises(InputError, match="shows the photo"):
        read_tasks([folder / "a.png"], [str(folder / "b.png")], [], SIZE)


def test_several_files_of_one_stem_are_no_mask(tmp_path):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), Image.fromarray(HOLE))
    Image.fromarray(HOLE).save(folder / "masks" / "a.bmp")
    with pytest.raises(InputError, match=r"one mask.*a\.bmp.*a\.png"):
        read_everywhere(folder)


def test_two_photos_of_one_stem_share_no_mask(tmp_path):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), Image.fromarray(HOLE))
    Image.fromarray(PHOTO).save(folder / "photos" / "a.jpg")
    with pytest.raises(InputError, match=r"'a\.jpg' and 'a\.png' share .*a\.png"):
        read_everywhere(folder)


def test_masks_may_have_any_format_and_those_of_no_photo_are_counted(tmp_path):
    folder = dataset(tmp_path, Image.fromarray(PHOTO), Image.fromarray(HOLE), "BMP")
    Image.fromarray(HOLE).save(folder / "masks" / "z.png")
    np.testing.assert_array_equal(read_everywhere(folder).mask, HOLE)
    protocol = Protocol(dataset=str(folder / "photos"), masks=str(folder / "masks"), samples=2)
    assert str(list_photos(protocol)) == (
        "2 photos, 2 masks, 1 files left out: masks/z.png (a mask that is not used)"
    )


BESIDE = ["a_MASK.PNG", "a-mask.png", "a.mask.png", "a mask.png", "a_mask (1).png", "a-Mask-2.png"]


@pytest.mark.parametrize("name", BESIDE)
def test_a_mask_beside_its_photo_is_known_however_people_name_it(tmp_path, name):
    Image.fromarray(PHOTO).save(tmp_path / "a.JPG", "JPEG")
    Image.fromarray(HOLE).save(tmp_path / name, "PNG")
    for masks, found in ((None, None), (tmp_path, tmp_path / name)):
        (case,) = list_dataset(tmp_path, masks).cases
        assert (case.name, case.mask) == ("a.JPG", found and found.resolve())


def test_a_file_saved_twice_comes_after_the_mask_itself(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.jpg")
    for name in ("a_mask (1).png", "a_mask.png"):
        Image.fromarray(HOLE).save(tmp_path / name)
    (case,) = list_dataset(tmp_path, tmp_path).cases
    assert case.mask == (tmp_path / "a_mask.png").resolve()


def test_a_photo_of_a_mask_is_a_photo(tmp_path):
    for name in ("gas mask.png", "face-mask 2.png"):
        Image.fromarray(PHOTO).save(tmp_path / name)
    assert len(list_dataset(tmp_path).cases) == 2


@pytest.mark.parametrize("name", ["masks", "mask", "Masks"])
@pytest.mark.parametrize("home", ["", "train/"])
def test_a_folder_of_masks_beside_others_holds_no_photos(tmp_path, name, home):
    for place, array in (("images", PHOTO), (name, HOLE)):
        (tmp_path / home / place).mkdir(parents=True)
        Image.fromarray(array).save(tmp_path / home / place / "1.png")
    manifest = list_dataset(tmp_path)
    assert [case.name for case in manifest.cases] == [f"{home}images/1.png"]
    assert manifest.left_out == {f"{home}{name}/": "a folder of masks"}
    assert [case.name for case in list_dataset(tmp_path / home / name).cases] == ["1.png"]


def test_a_mask_beside_its_photo_of_the_same_name_is_left_out(tmp_path):
    for number in (1, 2):
        Image.fromarray(PHOTO).save(tmp_path / f"{number}.jpg")
        Image.fromarray(HOLE).save(tmp_path / f"{number}.png")
    Image.fromarray(PHOTO).save(tmp_path / "3.jpg")
    Image.fromarray(PHOTO).save(tmp_path / "3.png")
    (tmp_path / "1.bmp").write_bytes(b"no image")
    manifest = list_dataset(tmp_path)
    assert [case.name for case in manifest.cases] == ["1.bmp", "1.jpg", "2.jpg", "3.jpg", "3.png"]
    assert manifest.left_out == dict.fromkeys(
        ("1.png", "2.png"), "a mask that lies beside its photo and has its name"
    )


@pytest.mark.parametrize("word", ["thick", "medium", "box"])
def test_a_kind_of_masks_does_not_hide_a_folder_of_its_name(tmp_path, monkeypatch, word):
    dataset(tmp_path, Image.fromarray(PHOTO), Image.fromarray(HOLE))
    (tmp_path / "masks").rename(tmp_path / word)
    monkeypatch.chdir(tmp_path)
    kind = Protocol(dataset="photos", masks=word, samples=2, resolution=SIZE)
    with pytest.raises(InputError, match=rf"'{word}' is a kind .* write '\./{word}' for the"):
        load_samples(kind)
    with pytest.raises(InputError, match=rf"\./{word}"):
        create_study("study", images="photos", masks=word)
    folder = kind.model_copy(update={"masks": f"./{word}"})
    np.testing.assert_array_equal(load_samples(folder)[0].mask, HOLE)
    study = create_study("study", images="photos", masks=f"./{word}")
    assert study.config.protocol.masks == f"./{word}"


def test_scenes_do_not_hide_a_folder_of_their_name(tmp_path, monkeypatch):
    dataset(tmp_path, Image.fromarray(PHOTO), Image.fromarray(HOLE))
    (tmp_path / "photos").rename(tmp_path / "scenes")
    monkeypatch.chdir(tmp_path)
    scenes = Protocol(masks="box", samples=2, resolution=SIZE)
    for read in (load_samples, list_photos, lambda one: load_recovery_samples(one, 1)):
        with pytest.raises(InputError, match=r"'scenes' is what is drawn .* '\./scenes' for the"):
            read(scenes)
    with pytest.raises(InputError, match=r"\./scenes"):
        create_study("study", images="scenes")
    photos = scenes.model_copy(update={"dataset": "./scenes"})
    np.testing.assert_array_equal(load_samples(photos)[0].image, PHOTO)
    study = create_study("study", images="./scenes")
    assert study.config.protocol.dataset == "./scenes"
