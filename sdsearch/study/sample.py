"""The sample: which architectures a study measures first, the same whenever it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.design import draw_near_front, excess_errors, find_allowed, read_probe
from sdsearch.errors import InputError
from sdsearch.study.folder import load_meter, load_space
from sdsearch.study.listing import Listing, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdsearch.study.config import Strategy
    from sdsearch.study.folder import StudyFolder
    from sdsearch.unet import Architecture


def draw_sample(study: StudyFolder, strategy: Strategy | None = None) -> Listing:
    """The named members and a draw by a strategy, by default the study's; nothing is written.

    Raises:
        InputError: the space, or the budget, has too few members for it; or it needs a probe, and
            there is none.
    """
    space, wanted = load_space(study), study.config.space
    strategy, rng = strategy or wanted.strategy, np.random.default_rng(wanted.seed)
    if strategy == "probe":
        drawn = pick_by_probe(study, wanted.labels, rng)
    elif strategy == "stratified":
        drawn = space.sample_stratified(wanted.labels, rng)
    else:
        drawn = space.sample(wanted.labels, rng)
    picked = [(arch, Origin(kind="member", name=name)) for name, arch in space.members.items()]
    origin = Origin(kind="sample", name=strategy)
    return Listing.of([*picked, *((arch, origin) for arch in drawn)])


def pick_by_probe(
    study: StudyFolder,
    count: int,
    rng: np.random.Generator,
    known: Iterable[Architecture] = (),
) -> list[Architecture]:
    """`count` members to label, spread over the probe's order and mostly near the budget's front.

    All are within the study's budget; without one, near is what loses little for its
    multiply-accumulates. None of them is `known`.

    Raises:
        InputError: there is no probe, or there are fewer members than `count`.
    """
    probe = read_probe(study.probe_file)
    if probe is None:
        raise InputError(
            f"a sample by the probe needs {study.probe_file}, but it is missing; run: sdsearch "
            f"probe {study.root}"
        )
    meter = load_meter(study)
    space, limits = meter.space, meter.limits(study.config.build.budget)
    errors = probe.option_errors(space)
    merit = excess_errors(errors, None if limits else meter.whole("macs"))
    listed = [space.index(arch) for arch in known]
    free = np.setdiff1d(np.flatnonzero(find_allowed(meter, limits, 1)), listed)
    chosen = draw_near_front(space, errors, merit, free, count, rng, listed)
    return [space.arch(int(number)) for number in chosen]
