"""What an engineer removes without any search: the rules that a search has to beat on a world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sdsearch.design import find_allowed
from sdsearch.space import Budget
from sdsearch.study import load_meter
from sdsearch.unet import UNPRUNED, Architecture, Bottom, Level

if TYPE_CHECKING:
    from sdsearch.space import Meter, Resource
    from sdsearch.study import StudyFolder

Rule = Literal["most-macs", "most-params", "whole levels"]
RULES: tuple[Rule, ...] = get_args(Rule)
BUDGETS: dict[str, tuple[Resource, float]] = {
    "macs 70 %": ("macs", 0.7),
    "macs 60 %": ("macs", 0.6),
    "macs 50 %": ("macs", 0.5),
    "params 60 %": ("params", 0.6),
}
BARE = Level(depth=1, down_attn=(False,), up_attn=(False, False))
NOTHING = Bottom(depth=None, mid=None)


def rule_designs(study: StudyFolder) -> dict[tuple[str, Rule], Architecture]:
    """The first design of every rule under every budget."""
    meter = load_meter(study)
    return {
        (name, rule): _by_rule(meter, rule, meter.limits(_budget(resource, share)))
        for name, (resource, share) in BUDGETS.items()
        for rule in RULES
    }


def _budget(resource: Resource, share: float) -> Budget:
    return Budget.model_validate({resource: {"share": share}})


def _by_rule(meter: Meter, rule: Rule, limits: dict[Resource, float]) -> Architecture:
    if rule == "whole levels":
        return next(arch for arch in strip_levels() if _fits(meter, arch, limits))
    value = meter.whole("macs" if rule == "most-macs" else "params")
    within = np.flatnonzero(find_allowed(meter, limits, 1))
    return meter.space.arch(int(within[np.argmax(value[within])]))


def _fits(meter: Meter, arch: Architecture, limits: dict[Resource, float]) -> bool:
    costs = meter.member(arch)
    return all(costs[name] <= limit for name, limit in limits.items())


def strip_levels() -> list[Architecture]:
    """The teacher without its bottom, then without the optional blocks of levels 2, 1, 0 too."""
    found = []
    for first in (3, 2, 1, 0):
        kept = [BARE if at >= first else level for at, level in enumerate(UNPRUNED.levels)]
        top, middle, inner = kept
        found.append(Architecture(levels=(top, middle, inner), bottom=NOTHING))
    return found
