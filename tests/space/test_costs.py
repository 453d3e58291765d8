from __future__ import annotations

import numpy as np
import pytest

from sdsearch.space.costs import add_up, space_macs, space_params, space_peaks
from sdsearch.space.space import SearchSpace, search_space
from sdsearch.space.units import Unit
from sdsearch.unet.architecture import UNPRUNED, Architecture
from sdsearch.unet.backbone import PRESETS, SD14, TINY, Backbone
from sdsearch.unet.cost import TEXT_TOKENS, count_macs, count_params
from sdsearch.unet.memory import activation_values


def peak(arch: Architecture, backbone: Backbone) -> int:
    side = backbone.sample_size
    return max(activation_values(arch, backbone, (side, side), TEXT_TOKENS))


def some_members(space: SearchSpace, n: int, seed: int = 2) -> list[int]:
    """Numbers of random members and of the named ones."""
    drawn = np.random.default_rng(seed).choice(len(space), size=n, replace=False)
    return [*drawn.tolist(), *(space.index(arch) for arch in space.members.values())]


def wide_blocks(backbone: Backbone) -> SearchSpace:
    """Two widths of each level but the first, the attention of a whole side together."""
    wide, blocks = search_space("sd14-wide", backbone), search_space("sd14-blocks", backbone)
    allowed = {option.blocks for unit in blocks.units for option in unit.options}
    first, second, third, bottom = (
        Unit(
            unit.name,
            tuple(
                option
                for option in unit.options
                if option.blocks in allowed and option.width in (None, *unit.widths[-2:])
            ),
        )
        for unit in wide.units
    )
    return SearchSpace("wide-blocks", backbone, (first, second, third, bottom))


SPACES = {
    "sd14": search_space("sd14"),
    "sd14-blocks": search_space("sd14-blocks"),
    "tiny": search_space("tiny"),
    "sd21": search_space("sd14", PRESETS["sd21"]),
    "narrow bottom": search_space("sd14", SD14.with_widths((320, 640, 1280, 640))),
    "widths": wide_blocks(TINY),
}


def test_numbers_of_options_are_added_up_in_the_order_of_the_space() -> None:
    space, rng = SPACES["sd14-blocks"], np.random.default_rng(0)
    units = [rng.integers(1000, size=radix) for radix in space.radices]
    sums = add_up(units)
    for index in some_members(space, 50):
        digits = space.option_indices(space.arch(index))
        assert sums[index] == sum(unit[d] for unit, d in zip(units, digits, strict=True))
    assert sums.dtype == units[0].dtype


@pytest.mark.parametrize("name", SPACES)
def test_costs_of_a_whole_space_agree_with_single_members(name: str) -> None:
    space = SPACES[name]
    params, macs, peaks = space_params(space), space_macs(space), space_peaks(space)
    assert params.shape == macs.shape == peaks.shape == (len(space),)
    assert params.dtype == macs.dtype == peaks.dtype == np.int64
    for index in some_members(space, 200):
        arch = space.arch(index)
        assert params[index] == count_params(arch, space.backbone)
        assert macs[index] == count_macs(arch, space.backbone, space.backbone.sample_size).total
        assert peaks[index] == peak(arch, space.backbone)
    assert params.max() == count_params(UNPRUNED, space.backbone)


@pytest.mark.parametrize("backbone", ["sd14", "sd21", "tiny"])
def test_peaks_of_all_members_of_sd14_blocks_are_those_of_brute_force(backbone: str) -> None:
    space = search_space("sd14-blocks", PRESETS[backbone])
    assert len(space) == 5632
    brute = [peak(space.arch(index), space.backbone) for index in range(len(space))]
    assert space_peaks(space).tolist() == brute
    assert len(set(brute)) > 10


@pytest.mark.slow
def test_peaks_of_twenty_thousand_members_of_sd14_are_those_of_brute_force() -> None:
    space = SPACES["sd14"]
    peaks = space_peaks(space)
    for index in some_members(space, 20_000, seed=3):
        assert peaks[index] == peak(space.arch(index), space.backbone)


@pytest.mark.slow
def test_the_29_million_members_of_sd14_wide_are_counted_in_bounded_memory() -> None:
    space = search_space("sd14-wide")
    peaks = space_peaks(space)
    for index in some_members(space, 2000):
        assert peaks[index] == peak(space.arch(index), space.backbone)
