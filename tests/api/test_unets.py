"""What the functions without a study take: words, names and folders, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sdsearch
from sdsearch.assets import TINY_TEACHER, asset_path

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = sdsearch.Architecture.parse("bk-small")
TINY = sdsearch.find_backbone("tiny")


def test_an_architecture_may_be_words_and_a_backbone_a_name_or_a_folder() -> None:
    cost = sdsearch.unet_cost(SMALL, TINY)
    for backbone in ("tiny", asset_path(TINY_TEACHER), str(asset_path(TINY_TEACHER))):
        assert sdsearch.unet_cost("bk-small", backbone) == cost
    assert sdsearch.draw_unet("bk-small", "tiny") == sdsearch.draw_unet(SMALL, TINY)
    assert sdsearch.search_space("sd14", "tiny") == sdsearch.search_space("sd14", TINY)
    assert sdsearch.inherit_unet("bk-small", "tiny").num_parameters() == cost.params


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sdsearch.unet_cost(3, "tiny"), "in words, .* but got 3, of type int"),
        (lambda: sdsearch.unet_cost(SMALL, 3), "a backbone must be .* but got 3, of type int"),
        (lambda: sdsearch.unet_cost(SMALL, "sd15"), "one of sd14, .* did you mean 'sd14'"),
        (lambda: sdsearch.draw_unet(TINY, SMALL), "in words, .* of type Backbone"),
        (lambda: sdsearch.draw_unet(SMALL, SMALL), "a backbone must be .* of type Architecture"),
        (lambda: sdsearch.draw_unet("widths 320/640/960/960", "tiny"), "wider than .* 32 .* 320"),
        (lambda: sdsearch.search_space(3), "space must be one of sd14, .* but got 3"),
        (lambda: sdsearch.search_space("sd14", SMALL), "a backbone must be"),
        (lambda: sdsearch.inherit_unet(SMALL, TINY), "must have weights: .* of type Backbone"),
        (lambda: sdsearch.inherit_unet(None, "tiny"), "in words, .* of type NoneType"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_it_must_be(
    call: Callable[[], Any], said: str
) -> None:
    with pytest.raises(sdsearch.InputError, match=said):
        call()
