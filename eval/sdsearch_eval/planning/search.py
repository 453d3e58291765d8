"""Search: how long fitting, scoring and building take, by doing them shortly on stand-ins."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.ranker import RankerConfig, fit_ranker, score_space, score_units
from sdsearch.unet import count_params

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.ranker import FittedRanker
    from sdsearch.space import SearchSpace
    from sdsearch.study.config import RankerSettings
    from sdsearch.unet import Architecture

_FEW, _MORE = 2, 22
"""Training steps that are tried; what all steps cost follows from these two."""


def time_search(
    space: SearchSpace, archs: Sequence[Architecture], settings: RankerSettings
) -> float:
    """Seconds of fitting on labels of `archs` and of scoring the space, on stand-in labels."""
    targets = [-float(count_params(arch, space.backbone)) for arch in archs]
    whole = RankerConfig(kind=settings.kind)
    found: list[float] = []
    for steps in (_FEW, _FEW, _MORE):  # the first pays for what is loaded once
        config = whole.model_copy(update={"steps": steps})
        start = time.perf_counter()
        fitted = fit_ranker(space, archs, targets, config, np.random.default_rng(0))
        found.append(time.perf_counter() - start)
    each = max(0.0, found[2] - found[1]) / (_MORE - _FEW)
    return found[0] + (whole.steps - _FEW) * each + _time_scores(fitted, space, settings)


def _time_scores(fitted: FittedRanker, space: SearchSpace, settings: RankerSettings) -> float:
    start = time.perf_counter()
    score_units(fitted, space, score_space(fitted, space), settings.rule)
    return time.perf_counter() - start
