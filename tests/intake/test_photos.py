"""Photos as people have them: formats, depths, EXIF, odd names, and what a folder holds."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from sdsearch.errors import InputError
from sdsearch.labels import Protocol
from sdsearch_eval.app.actions import read_upload
from sdsearch_eval.data import (
    Frame,
    MaskReading,
    load_dataset,
    load_samples,
    photos,
    read_mask,
    read_tasks,
)
from sdsearch_eval.data.listing import list_dataset
from sdsearch_eval.data.photos import Picture, open_picture, square_image

SIZE = 64
PICTURE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
GREY = PICTURE[..., 0]
HOLE = np.zeros((SIZE, SIZE), np.uint8)
HOLE[:16] = 255


def read_file(path, size=SIZE):
    return square_image(open_picture(path), size)


def write_tiff(path, samples, bits, form=1, photometric=1, orientation=1):
    """A minimal TIFF of one channel: Pillow and others do not write 12 bits."""
    height, width = samples.shape
    if bits == 12:
        pairs = samples.reshape(-1, 2).astype(np.uint32)
        packed = pairs[:, 0] << 12 | pairs[:, 1]
        data = b"".join(int(value).to_bytes(3, "big") for value in packed)
    else:
        data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    tags = [
        *((256, width), (257, height), (258, bits), (259, 1), (262, photometric)),
        *((273, 8), (274, orientation), (277, 1), (278, height), (279, len(data)), (339, form)),
    ]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + ifd)


DEPTHS = {
    "12 bits": (12, 1, np.uint16, 4095),
    "16 bits": (16, 1, np.uint16, 65535),
    "16 bits signed": (16, 2, np.int16, 32767),
    "32 bits": (32, 1, np.uint32, 2**32 - 1),
    "32 bits signed": (32, 2, np.int32, 2**31 - 1),
    "8 bits signed": (8, 2, np.int8, 127),
}


@pytest.mark.parametrize(("bits", "form", "dtype", "white"), DEPTHS.values(), ids=DEPTHS)
@pytest.mark.parametrize("share", [1.0, 0.5], ids=["bright", "dark"])
def test_a_deep_tiff_is_scaled_by_the_depth_in_its_tags(tmp_path, bits, form, dtype, white, share):
    samples = np.round(GREY / 255 * white * share).astype(dtype)
    write_tiff(tmp_path / "a.tif", samples, bits, form)
    image = read_file(tmp_path / "a.tif")
    expected = np.round(samples.astype(np.float64) * 255 / white)
    np.testing.assert_array_equal(image, np.repeat(expected[..., None], 3, axis=2))
    assert abs(image.mean() - GREY.mean() * share) < 1


@pytest.mark.parametrize("turn", [3, 6])
def test_a_deep_tiff_is_turned_by_its_tag_and_white_may_be_0(tmp_path, turn):
    samples = GREY.astype(np.uint16) * 257
    write_tiff(tmp_path / "a.tif", 65535 - samples, 16, photometric=0, orientation=turn)
    expected = np.rot90(GREY, 2 if turn == 3 else -1)
    np.testing.assert_array_equal(read_file(tmp_path / "a.tif")[..., 0], expected)


UNSTATED = {
    "floats": (GREY / 255, 32, 3, np.float32, "floats from 0 to"),
    "8 bits in 32": (GREY, 32, 2, np.int32, "reaches 255 of 2147483647"),
    "12 bits in 16": (GREY * 16.0, 16, 1, np.uint16, "reaches 4080 of 65535"),
    "negative values": (GREY - 99.0, 16, 2, np.int16, "holds -99"),
}


@pytest.mark.parametrize(
    ("samples", "bits", "form", "dtype", "message"), UNSTATED.values(), ids=UNSTATED
)
def test_a_tiff_that_does_not_state_its_brightness_is_refused(
    tmp_path, samples, bits, form, dtype, message
):
    write_tiff(tmp_path / "a.tif", samples.astype(dtype), bits, form)
    with pytest.raises(InputError, match=message) as refused:
        read_file(tmp_path / "a.tif")
    assert "a.tif" in str(refused.value)


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def write_png_16(path, samples):
    """A PNG of 16 bits in 2 to 4 channels, which Pillow does not write."""
    height, width, channels = samples.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.tobytes() for row in samples.astype(">u2"))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)


def write_tiff_16(path, samples):
    """A TIFF of 16 bits in three channels."""
    height, width, _ = samples.shape
    data = samples.astype("<u2").tobytes()
    tags = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8 + len(data)), (259, 4, 1, 1)),
        *((262, 4, 1, 2), (273, 4, 1, 8), (277, 4, 1, 3), (278, 4, 1, height)),
        (279, 4, 1, len(data)),
    ]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    ifd = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    start = struct.pack("<2sHI", b"II", 42, 8 + len(data) + 6)
    path.write_bytes(start + data + struct.pack("<3H", 16, 16, 16) + ifd)


def write_ppm_16(path, samples):
    size = f"P6 {samples.shape[1]} {samples.shape[0]} 65535\n"
    path.write_bytes(size.encode() + samples.astype(">u2").tobytes())


DEEP_WRITERS = {
    "RGB TIFF": ("a.tif", write_tiff_16, 3),
    "RGB PNG": ("a.png", write_png_16, 3),
    "LA PNG": ("a.png", write_png_16, 2),
    "RGBA PNG": ("a.png", write_png_16, 4),
    "PPM": ("a.ppm", write_ppm_16, 3),
}


@pytest.mark.parametrize(("name", "write", "channels"), DEEP_WRITERS.values(), ids=DEEP_WRITERS)
def test_a_deep_photo_of_several_channels_keeps_its_brightness_or_is_refused(
    tmp_path, name, write, channels
):
    samples = np.dstack([PICTURE, GREY])[..., :channels].astype(np.uint16) * 257
    if channels in (2, 4):
        samples[..., -1] = 65535
    write(tmp_path / name, samples)
    shown = PICTURE if channels > 2 else np.repeat(GREY[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_file(tmp_path / name), shown)
    for bits in (8, 12):
        write(tmp_path / name, samples >> (16 - bits))
        with pytest.raises(InputError, match=r"depth.*a\..*would be black.*16, scaled"):
            read_file(tmp_path / name)


def test_a_deep_mask_of_several_channels_is_refused(tmp_path):
    write_png_16(tmp_path / "m.png", np.repeat(np.where(HOLE, 300, 7)[..., None], 3, axis=2))
    for convention in ("canonical", "lama"):
        with pytest.raises(InputError, match=r"one channel.*m\.png.*save it as 8- or 16-bit grey"):
            read_mask(
                Picture("photo", Image.fromarray(PICTURE)),
                open_picture(tmp_path / "m.png"),
                SIZE,
                MaskReading(convention),
            )


def test_the_depth_of_a_jpeg_2000_is_read_from_its_stream(tmp_path):
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    Image.fromarray(PICTURE).save(tmp_path / "a.j2k", no_jp2=True)
    assert not open_picture(tmp_path / "a.j2k").is_cut
    data = bytearray((tmp_path / "a.j2k").read_bytes())
    for channel in range(3):
        data[42 + 3 * channel] = 15  # one less than the bits of a channel
    (tmp_path / "a.j2k").write_bytes(data)
    assert open_picture(tmp_path / "a.j2k").is_cut


def test_a_photo_of_16_bits_a_pixel_is_not_deep(tmp_path):
    dark = struct.pack("<H", 1 << 11 | 1 << 5 | 1) * SIZE * SIZE
    header = struct.pack("<IiiHHIIiiII", 40, SIZE, SIZE, 1, 16, 3, len(dark), 0, 0, 0, 0)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    start = struct.pack("<2sIHHI", b"BM", 66 + len(dark), 0, 0, 66)
    (tmp_path / "a.bmp").write_bytes(start + header + masks + dark)
    assert 0 < read_file(tmp_path / "a.bmp").max() < 16


@pytest.mark.parametrize("suffix", ["png", "tga", "webp", "tif"])
@pytest.mark.parametrize("opacity", [0, 3, 255])
def test_an_alpha_that_is_the_same_everywhere_does_not_hide_the_photo(tmp_path, suffix, opacity):
    image = Image.fromarray(PICTURE)
    image.putalpha(opacity)
    how = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image.save(tmp_path / f"a.{suffix}", **how)
    np.testing.assert_array_equal(read_file(tmp_path / f"a.{suffix}"), PICTURE)


def test_a_palette_that_is_transparent_throughout_does_not_hide_the_photo(tmp_path):
    image = Image.fromarray(PICTURE).quantize(16)
    image.save(tmp_path / "a.png", transparency=bytes(256))
    np.testing.assert_array_equal(read_file(tmp_path / "a.png"), np.asarray(image.convert("RGB")))


def test_what_is_transparent_in_a_part_of_a_photo_is_white(tmp_path):
    image = Image.fromarray(PICTURE)
    image.putalpha(Image.fromarray(HOLE))
    image.save(tmp_path / "a.png")
    expected = np.where(HOLE[..., None], PICTURE, 255)
    np.testing.assert_array_equal(read_file(tmp_path / "a.png"), expected)


FORMATS = {
    "a.PNG": "PNG",
    "a.gif": "GIF",
    "a.jfif": "JPEG",
    "a.JPG": "JPEG",
    "a.bmp": "BMP",
    "a.ppm": "PPM",
    "a.tga": "TGA",
    "a.Tiff": "TIFF",
    "a.webp": "WEBP",
    "a.avif": "AVIF",
    "a.jp2": "JPEG2000",
    "a.qoi": "QOI",
    "a.dds": "DDS",
    "a.im": "IM",
}


@pytest.mark.parametrize(("name", "kind"), FORMATS.items())
def test_every_raster_format_of_pillow_is_a_photo(tmp_path, name, kind):
    feature = {"AVIF": "avif", "JPEG2000": "jpg_2000", "WEBP": "webp"}.get(kind)
    if feature and not features.check(feature):
        pytest.skip(f"this Pillow has no {kind}")
    if kind == "QOI" and kind not in Image.SAVE:
        pytest.skip("this Pillow does not write QOI")
    Image.new("RGB", (SIZE, SIZE), (200, 40, 40)).save(tmp_path / name, kind)
    (case,) = list_dataset(tmp_path).cases
    assert case.name == name
    assert np.abs(read_file(case.photo).astype(int) - (200, 40, 40)).max() < 8


def test_a_sun_raster_is_a_photo(tmp_path):
    header = struct.pack(">8I", 0x59A66A95, SIZE, SIZE, 24, 3 * SIZE * SIZE, 1, 0, 0)
    (tmp_path / "a.ras").write_bytes(header + bytes((40, 40, 200)) * SIZE * SIZE)  # blue first
    (case,) = list_dataset(tmp_path).cases
    assert (read_file(case.photo) == (200, 40, 40)).all()


def test_what_is_left_out_is_counted_with_the_reason(tmp_path):
    for name in ("b.png", "a.png"):
        Image.fromarray(PICTURE).save(tmp_path / name)
    for name in ("x.heic", "notes.md", "._a.png", "a.pdf", "metadata.jsonl", "a.txt", "b.eps"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "originals").mkdir()
    Image.fromarray(PICTURE).save(tmp_path / "originals" / "c.png")
    manifest = list_dataset(tmp_path)
    assert [case.name for case in manifest.cases] == ["a.png", "b.png"]
    assert str(manifest) == (
        "2 photos, 0 masks, 6 files left out: ._a.png (hidden); originals/ (a folder beside "
        "photos); a.pdf, b.eps, notes.md (no image); x.heic (HEIC: pip install pillow-heif to "
        "read it)"
    )


def test_photos_of_sub_folders_are_read_where_the_folder_has_none_of_its_own(tmp_path):
    for name in ("train/cat/1.png", "train/dog/1.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(PICTURE).save(tmp_path / name)
    assert [case.name for case in list_dataset(tmp_path).cases] == [
        "train/cat/1.png",
        "train/dog/1.png",
    ]


def png_of(width, height):
    """The beginning of a PNG that claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    idat = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + idat + chunk(b"IEND", b"")


def test_a_photo_may_have_200_megapixels_whatever_pillows_own_limit_is(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(png_of(20_000, 10_001))
    with pytest.raises(InputError, match=r"200 megapixels.*bomb\.png.*20000 x 10001"):
        read_file(tmp_path / "bomb.png")
    Image.fromarray(PICTURE).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE)
    np.testing.assert_array_equal(read_file(tmp_path / "large.png"), PICTURE)
    assert Image.MAX_IMAGE_PIXELS == SIZE
    monkeypatch.setattr(photos, "LARGEST_PHOTO", SIZE * SIZE - 1)
    with pytest.raises(InputError, match=r"large\.png"):
        read_file(tmp_path / "large.png")


UNWRITABLE = {
    "a negative resolution": (0x011A, 9, 1, struct.pack(">i", -7)),
    "a width in words": (0x0100, 2, 4, b"abc\0"),
    "a width with a fraction": (0x0100, 11, 1, struct.pack(">f", 1.5)),
}


@pytest.mark.parametrize("entry", UNWRITABLE.values(), ids=UNWRITABLE)
def test_a_photo_is_turned_by_its_tag_where_its_exif_block_cannot_be_rewritten(tmp_path, entry):
    turn = (0x0112, 3, 1, struct.pack(">HH", 6, 0))
    entries = b"".join(
        struct.pack(">HHI", *fields) + value for *fields, value in sorted((turn, entry))
    )
    block = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entries + struct.pack(">I", 0)
    stored = Image.fromarray(PICTURE).transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "a.webp", lossless=True, exif=block)
    with Image.open(tmp_path / "a.webp") as image, pytest.raises(struct.error):
        ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(read_file(tmp_path / "a.webp"), PICTURE)


def encoded(kind, mode):
    file = io.BytesIO()
    Image.fromarray(PICTURE[:9, :7]).convert(mode).save(file, kind)
    return file.getvalue()


WHOLE = [
    encoded(*case)
    for case in (("PNG", "P"), ("PNG", "LA"), ("JPEG", "CMYK"), ("TIFF", "RGB"), ("GIF", "P"))
]


@pytest.mark.fuzz
@given(
    data=st.sampled_from(WHOLE),
    at=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    kept=st.floats(0.2, 1),
)
def test_damaged_files_are_refused_or_read(tmp_path_factory, data, at, kept):
    damaged = bytearray(data)
    for place, value in at:
        damaged[int(place * len(data))] = value
    path = tmp_path_factory.mktemp("fuzz") / "a.png"
    path.write_bytes(damaged[: int(kept * len(data))])
    hole = Picture("hole.png", Image.fromarray(HOLE))
    for read in (
        lambda picture: square_image(picture, 8),
        lambda picture: read_mask(hole, picture, 8, MaskReading("lama", "cropped")),
    ):
        with suppress(InputError):
            assert read(open_picture(path)).dtype == np.uint8


def dataset_of(folder, count):
    folder.mkdir()
    for number in range(count):
        Image.fromarray(np.roll(PICTURE, number)).save(folder / f"{number:02}.png")
    return Protocol(dataset=str(folder), masks="box", samples=2, resolution=SIZE)


def test_a_name_that_is_no_utf8_is_read_and_printable(tmp_path):
    protocol = dataset_of(tmp_path / "photos", 1)
    name = os.path.join(os.fsencode(protocol.dataset), b"caf\xe9.png")
    try:
        with open(name, "wb") as file:
            Image.fromarray(PICTURE).save(file, "PNG")
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    samples = load_samples(protocol)
    assert [sample.name for sample in samples] == ["00.png", "caf\\xe9.png"]
    with open(name, "wb") as file:
        file.write(b"no picture")
    with pytest.raises(InputError, match=r"caf\\xe9\.png") as refused:
        load_samples(protocol)
    str(refused.value).encode("utf-8")


def test_only_what_is_used_is_decoded_once(tmp_path, monkeypatch):
    protocol = dataset_of(tmp_path / "photos", 40)
    opened = []
    monkeypatch.setattr(
        "sdsearch_eval.data.samples.open_picture",
        lambda path: opened.append(path.name) or open_picture(path),
    )
    dataset = load_dataset(protocol, 3)
    assert [sample.name for sample in dataset.samples] == ["00.png", "01.png"]
    assert [sample.name for sample in dataset.pool] == ["02.png", "03.png", "04.png"]
    assert opened == ["00.png", "01.png", "02.png", "03.png", "04.png"]
    assert str(dataset.manifest) == "40 photos, 0 masks, 0 files left out"


def test_unreadable_photos_are_skipped_by_policy_and_never_shift_into_the_evaluated_ones(tmp_path):
    protocol = dataset_of(tmp_path / "photos", 6)
    (tmp_path / "photos" / "01.png").write_bytes(png_of(20_000, 20_000))
    (tmp_path / "photos" / "03.png").write_bytes(b"GIF89a")
    with pytest.raises(InputError, match=r"01\.png.*skip"):
        load_samples(protocol)
    skipping = protocol.model_copy(update={"unreadable": "skip"})
    dataset = load_dataset(skipping, 2)
    assert [sample.name for sample in dataset.samples] == ["00.png", "02.png"]
    assert [sample.name for sample in dataset.pool] == ["04.png", "05.png"]
    assert str(dataset.manifest) == (
        "4 photos, 0 masks, 2 files left out: 01.png, 03.png (unreadable)"
    )


MODES = ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1", "I;16", "YCbCr"]


@pytest.mark.parametrize("mode", MODES)
def test_a_photo_is_the_same_in_labels_compare_and_app(tmp_path, mode):
    folder = tmp_path / "photos"
    folder.mkdir()
    image = Image.fromarray(GREY.astype(np.uint16) * 257)
    if mode != "I;16":
        image = Image.fromarray(PICTURE).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 8
    suffix = {"CMYK": "tif", "YCbCr": "jpg"}.get(mode, "png")
    for stem in "ab":
        image.save(folder / f"{stem}.{suffix}", exif=exif)
    protocol = Protocol(dataset=str(folder), masks="box", samples=2, resolution=SIZE)
    sample = load_samples(protocol)[0]
    (task, _) = read_tasks([folder], ["auto:box"], [], SIZE)
    np.testing.assert_array_equal(task.image, sample.image)
    with Image.open(folder / f"a.{suffix}") as opened:
        uploaded = read_upload(opened, HOLE, "", Frame(SIZE))
    np.testing.assert_array_equal(uploaded.image, sample.image)
    if mode == "RGB":
        np.testing.assert_array_equal(sample.image, np.rot90(PICTURE))
    if mode == "I;16":
        np.testing.assert_array_equal(sample.image[..., 0], np.rot90(GREY))


def test_what_is_no_raster_image_is_not_given_to_other_programs(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        read_file(tmp_path / "a.png")
