"""How the members of the tiny benchmark were drawn: the same every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

UNIFORM, STRATIFIED = 68, 160


def draw_uniform(space: SearchSpace) -> list[Architecture]:
    """The 68 of the paper's setting, as a study with default settings samples them."""
    return space.sample(UNIFORM, np.random.default_rng(0))


def draw_stratified(space: SearchSpace) -> list[Architecture]:
    """160 in which every option of a level is as frequent as any other."""
    return space.sample_stratified(STRATIFIED, np.random.default_rng(1))


def group_keys(space: SearchSpace) -> dict[str, set[str]]:
    """Architecture keys by group; one that is in two belongs to the first."""
    named = {arch.key for arch in space.members.values()}
    uniform = {arch.key for arch in draw_uniform(space)} - named
    stratified = {arch.key for arch in draw_stratified(space)} - uniform - named
    return {"named": named, "uniform": uniform, "stratified": stratified}
