"""What a comparison shows: of holes what was there, of words only what was painted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sdsearch.labels.costs import PipelineCost
from sdsearch_eval.data.sample import paint_prompts
from sdsearch_eval.pictures.comparison import (
    are_painted_whole,
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


def painted(samples):
    return {"teacher": np.stack([sample.image for sample in samples])}


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
