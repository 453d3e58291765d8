"""What the app does for a study that paints from words, or around holes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sdsearch.errors import InputError
from sdsearch_eval.app.actions import MOST_SEEDS, Studio, read_seeds
from sdsearch_eval.world import World
from tests.eval.jobs.test_processes import make_study

TEXT = '[protocol]\ntask = "text-to-image"\nsamples = 2\nsteps = 2\n'


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    return Studio(make_study(tmp_path_factory.mktemp("words") / "study", TEXT), World())


def test_a_prompt_is_painted_under_each_seed_and_always_the_same(studio):
    first, second = (
        studio.paint_words(["teacher"], "a red house", (3, 4), steps=2, guidance=1.0)
        for _ in range(2)
    )
    assert [said.split(",")[0] for _, said in first] == ["seed 3", "seed 4"]
    images = [np.asarray(image) for image, _ in first]
    assert images[0].shape == (64, 64, 3)
    assert not np.array_equal(images[0], images[1])
    assert all(
        np.array_equal(image, np.asarray(again))
        for image, (again, _) in zip(images, second, strict=True)
    )


def test_around_a_hole_the_whole_upload_is_shown_with_it_filled(tmp_path):
    toml = '[protocol]\ncrop = "hole"\ncrop_padding = 8\n'
    studio = Studio(make_study(tmp_path / "study", toml), World())
    photo = Image.effect_noise((300, 200), 60).convert("RGB")
    hole = np.zeros((200, 300), np.uint8)
    hole[20:60, 10:50] = 255
    ((picture, said),) = studio.paint(
        ["teacher"], photo, hole, "a red house", steps=1, guidance=1.0, seed=0
    )
    assert said.startswith("teacher")
    found, there = np.asarray(picture), np.asarray(photo)
    assert np.array_equal(found[hole == 0], there[hole == 0])
    assert (found[hole == 255] != there[hole == 255]).any(axis=1).mean() > 0.9


@pytest.mark.parametrize(
    ("names", "prompt", "words"),
    [([], "a house", "choose at least one"), (["teacher"], "  ", "write what")],
)
def test_what_is_missing_is_asked_for(studio, names, prompt, words):
    with pytest.raises(InputError, match=words):
        studio.paint_words(names, prompt, (0,), steps=1, guidance=1.0)


def test_seeds_are_numbers_apart_by_spaces_or_commas():
    assert read_seeds("0, 1  7") == [0, 1, 7]
    assert read_seeds(str(2**32 - 1)) == [2**32 - 1]


@pytest.mark.parametrize("said", ["", "one", "-1", "1.5", str(2**32), "²", " ".join("1" * 99)])
def test_what_cannot_be_seeds_is_refused_and_so_are_too_many(said):
    with pytest.raises(InputError, match="seed"):
        read_seeds(said)
    assert len(read_seeds(" ".join("1" * MOST_SEEDS))) == MOST_SEEDS
