from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from sdsearch_eval.scenes.objects import PAINTS
from sdsearch_eval.scenes.scenes import GROUNDS, LIGHTS, RIDGES, render_scene, split_seed


def test_scenes_have_not_changed_since_the_labels_were_measured():
    """A change here needs a raised RENDERER_VERSION, Protocol.revision, teacher and labels."""
    digest = hashlib.sha256()
    for seed in (*range(20), split_seed("test", 0), split_seed("val", 3)):
        scene = render_scene(seed)
        digest.update(scene.image.tobytes() + scene.caption.encode())
        for name in sorted(scene.object_masks):
            digest.update(name.encode() + scene.object_masks[name].tobytes())
    assert digest.hexdigest()[:16] == "9b4c8485a2e922e7"


@pytest.mark.parametrize("size", [64, 128])
def test_a_scene_is_an_image_with_masks_of_its_objects(size):
    for seed in range(30):
        scene = render_scene(seed, size)
        assert scene.image.shape == (size, size, 3)
        assert scene.image.dtype == np.uint8
        assert scene.image.std() > 5
        for mask in scene.object_masks.values():
            assert mask.shape == (size, size)
            assert mask.dtype == bool


def test_the_caption_names_every_object_the_ground_the_light_and_the_ridge():
    for seed in range(100):
        scene = render_scene(seed)
        for name in scene.object_masks:
            assert name in scene.caption
        assert any(ground in scene.caption for ground in GROUNDS)
        assert any(light.words in scene.caption for light in LIGHTS)
        assert any(ridge.words in scene.caption for ridge in RIDGES)


def test_objects_are_painted_in_the_colour_that_the_caption_says():
    checked = 0
    for seed in range(200):
        scene = render_scene(seed)
        noon = "at noon" in scene.caption
        for colour in PAINTS:
            mask = scene.object_masks.get(f"a {colour} house")
            if mask is not None and noon and not any("tree" in n for n in scene.object_masks):
                pixels = scene.image[mask].astype(int)
                alike = {
                    name: (np.abs(pixels - np.array(paint)).sum(1) < 30).mean()
                    for name, paint in PAINTS.items()
                }
                assert max(alike, key=alike.get) == colour
                assert alike[colour] > 0.25
                checked += 1
    assert checked >= 5


def test_what_is_under_an_object_cannot_be_told_from_its_surroundings():
    """Colours of houses are drawn independently of light, ground and ridge."""
    seen = {}
    for seed in range(600):
        caption = render_scene(seed).caption
        for colour in PAINTS:
            if f"a {colour} house" in caption:
                ground = next(g for g in GROUNDS if g in caption)
                seen.setdefault(ground, set()).add(colour)
    assert all(colours == set(PAINTS) for colours in seen.values())


def test_splits_never_share_a_seed():
    ends = [(split_seed(s, 0), split_seed(s, 999_999_999)) for s in ("train", "val", "test")]
    assert all(low > high for (_, high), (low, _) in itertools.pairwise(ends))
    assert ends[-1][1] < 2**32
    with pytest.raises(ValueError, match="1e9"):
        split_seed("train", 1_000_000_000)
