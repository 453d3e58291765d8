"""Which members load elsewhere: the rule for one is that for all, and says its reason."""

from __future__ import annotations

import numpy as np
import pytest

from sdsearch.space.loaders import LOADERS, Loader, space_loads, why_not_loaded
from sdsearch.space.space import search_space
from sdsearch.space.summary import summarize_space
from sdsearch.unet.architecture import NAMED, UNPRUNED, Architecture
from sdsearch.unet.backbone import PRESETS, SD14, TINY


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        *(("sd14", loader) for loader in LOADERS),
        *(("sd14-blocks", loader) for loader in LOADERS),
        ("tiny", "comfyui"),
        ("sd14-wide", "comfyui"),
        ("sd2", "comfyui"),
    ],
)
def test_the_rule_for_every_member_is_that_for_each(name: str, loader: Loader) -> None:
    space = search_space("sd14-wide", PRESETS["sd2"]) if name == "sd2" else search_space(name)
    found = space_loads(space, loader)
    assert found.shape == (len(space),)
    for index in np.random.default_rng(0).integers(len(space), size=120):
        arch = space.arch(int(index))
        assert found[index] == (why_not_loaded(arch, space.backbone, loader) is None), str(arch)


def test_a_summary_counts_who_loads_where() -> None:
    whole = summarize_space(search_space("sd14")).loads_in
    assert whole["single-file"] == whole["comfyui"] == 498_176
    # Of depth 1 or 2: four choices of whole halves a level, attention in the encoder, five bottoms.
    assert whole["from_single_file"] == 2 * (4**3 - 2**3) * 5
    assert summarize_space(search_space("tiny")).loads_in == {**whole, "comfyui": 0}


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("preset", ["sd14", "sd14-inpaint", "sd2", "sd2-inpaint", "sd21"])
def test_named_members_load_in_comfyui(name: str, preset: str) -> None:
    assert why_not_loaded(NAMED[name], PRESETS[preset], "comfyui") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("level 3 depth 0", "level 3 has no encoder block"),
        (
            "level 0: attention down 00; level 1: attention down 00; level 2: attention down 00",
            "the encoder has no attention",
        ),
        ("widths 320/480/640/640", "320/480/640/640"),
        ("widths 160/320/640/640", "ComfyUI knows 320 channels at level 0"),
    ],
)
def test_the_reason_is_said(words: str, said: str) -> None:
    assert said in (why_not_loaded(Architecture.parse(words), SD14, "comfyui") or "")


def test_narrower_heads_of_sd_2_are_not_those_that_comfyui_takes() -> None:
    narrow = Architecture.parse("widths 320/640/640/640")
    assert why_not_loaded(narrow, SD14, "comfyui") is None
    assert "other heads" in (why_not_loaded(narrow, PRESETS["sd2"], "comfyui") or "")
    assert why_not_loaded(narrow, PRESETS["sd2"], "single-file") is None


def test_a_tiny_unet_is_written_but_known_to_no_importer() -> None:
    assert why_not_loaded(UNPRUNED, TINY, "single-file") is None
    assert "cross_attention_dim" in (why_not_loaded(UNPRUNED, TINY, "comfyui") or "")


def test_from_single_file_wants_one_depth_and_attentions_of_halves() -> None:
    said = why_not_loaded(Architecture.parse("level 1: depth 1"), SD14, "from_single_file")
    assert "every level to have as many" in (said or "")
    mixed = Architecture.parse("level 1: attention up 011")
    assert "off beside others" in (why_not_loaded(mixed, SD14, "from_single_file") or "")
    assert why_not_loaded(NAMED["bk-base"], SD14, "from_single_file") is None
