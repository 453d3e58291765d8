"""What a comparison shows: of holes what was there, of words only what was painted."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from sdsearch.labels.costs import PipelineCost
from sdsearch_eval.data.sample import Frame, paint_prompts
from sdsearch_eval.pictures.comparison import (
    are_painted_whole,
    choose_rows,
    collect_gallery,
    describe_comparison,
    draw_comparison,
)
from sdsearch_eval.scenes.scenes import render_scene, split_seed

CAPTIONS = ("a red house", "a lake at night")


@pytest.fixture
def words():
    return paint_prompts(CAPTIONS, 64)


@pytest.fixture
def captioned(words):
    """Words that are the captions of pictures."""
    return [
        replace(sample, image=render_scene(split_seed("test", number)).image)
        for number, sample in enumerate(words)
    ]


@pytest.fixture
def holes(captioned):
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    return [replace(sample, mask=mask) for sample in captioned]


@pytest.fixture
def cropped():
    """The surroundings of two holes, a square and another, in photos that get brighter."""
    return [
        cut_hole(CAPTIONS[0], (900, 1000), 700),
        cut_hole(CAPTIONS[1], (200, 120), 60),
    ]


def cut_hole(caption, size, side):
    width, height = size
    grey = (np.arange(height) % 200).astype(np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[50 : 50 + side, 100 : 100 + side] = 255
    photo = np.tile(grey[:, None, None], (1, width, 3))
    return Frame(64, 32).cut(caption, photo, caption, mask)


def painted(samples):
    return {"teacher": [sample.original for sample in samples]}


def columns_of(samples):
    rows = json.loads(collect_gallery(samples, painted(samples)))["rows"]
    assert [row["caption"] for row in rows] == list(CAPTIONS)
    return list(rows[0]["images"])


def test_holes_are_shown_with_what_was_there(holes):
    assert columns_of(holes) == ["original", "masked", "teacher"]


def test_words_of_pictures_are_shown_with_them_and_other_words_alone(captioned, words):
    assert columns_of(captioned) == ["original", "teacher"]
    assert columns_of(words) == ["teacher"]


def test_the_picture_is_as_wide_as_its_columns(holes, captioned, words):
    widths = [
        draw_comparison(samples, painted(samples), {}).width
        for samples in (words, captioned, holes)
    ]
    assert widths[2] - widths[1] == widths[1] - widths[0] > 100


def test_every_line_of_a_note_has_room(words):
    heights = [
        draw_comparison(words, painted(words), {"teacher": note}).height
        for note in ("5 M", "5 M\n0.3 s a picture")
    ]
    assert heights[1] - heights[0] >= 12


def test_only_what_has_an_original_is_told_in_decibels(holes, captioned):
    keys, costs = {"teacher": "abc"}, {"teacher": PipelineCost(name="teacher")}
    assert not are_painted_whole(holes)
    (column,) = json.loads(describe_comparison(holes, painted(holes), keys, costs))["columns"]
    assert column["psnr_hole"] == [100, 100]
    (column,) = json.loads(describe_comparison(captioned, painted(captioned), keys, costs))[
        "columns"
    ]
    assert "psnr_hole" not in column


def test_surroundings_of_any_size_are_shown_as_they_are_in_their_photos(cropped):
    assert [sample.original.shape for sample in cropped] == [(764, 764, 3), (120, 124, 3)]
    assert columns_of(cropped) == ["original", "masked", "teacher"]
    costs = {"teacher": PipelineCost(name="teacher")}
    said = describe_comparison(cropped, painted(cropped), {"teacher": "a"}, costs)
    (column,) = json.loads(said)["columns"]
    assert column["psnr_hole"] == [100, 100]
    grid = np.asarray(draw_comparison(cropped, painted(cropped), {}))
    # The lower row's is no square: nothing is stretched, the rest of its cell is paper.
    assert grid.shape[1] == 8 + 3 * 168
    second = grid[44 + 160 + 34 + 8 :][:160, 8:168]
    assert (second[[0, -1]] == 255).all()
    assert (second[80] < 255).all()


def test_a_page_holds_pictures_of_a_size_that_screens_show():
    large = [cut_hole(caption, (1800, 1700), 1600) for caption in CAPTIONS]
    (row, _) = json.loads(collect_gallery(large, painted(large)))["rows"]
    data = base64.b64decode(row["images"]["teacher"].partition(",")[2])
    with Image.open(BytesIO(data)) as picture:
        assert max(picture.size) == 768


def test_the_largest_holes_are_those_of_the_largest_share_of_their_photos(cropped):
    assert [sample.share for sample in cropped] == [pytest.approx(0.544, abs=1e-3), 0.15]
    assert choose_rows(cropped, 1) == [0]
    assert choose_rows(cropped[::-1], 1) == [1]
