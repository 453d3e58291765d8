"""The search methods that a replay compares; each is one function of a `ReplayTask`.

A method of your own is such a function too, given as "module:function" (docs/benchmark.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.design import TOURNAMENT
from sdsearch.errors import InputError
from sdsearch.ranker import columns_of, errors_of, fit_forest, fit_ridge
from sdsearch.replay.replay import MEMBERS, Method, find_method, slots_kept
from sdsearch.space import add_up
from sdsearch.unet import count_macs, count_params

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdsearch.design import Probe
    from sdsearch.replay.pool import Floats
    from sdsearch.replay.replay import ReplayTask

PAPER_STEPS, PAPER_RATE = 220, 2e-3
"""A twentieth of the published steps at twenty times the rate: a replay trains dozens of them."""
CHILDREN = 400


def autobuild(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """Sum of what each unit's option changes in the GNN's prediction, as the builder adds up."""
    from sdsearch.ranker import score_units

    scores = score_units(task.fitted, task.space, task.scored)
    return add_up(scores.values())[task.indices]


def autobuild_paper(task: ReplayTask, rng: np.random.Generator, nets: int = MEMBERS) -> Floats:
    """Sum of option scores by the published method, the mean of as many nets as ours has.

    Each has first weights of its own; training is shortened to `PAPER_STEPS`.
    """
    from sdsearch.ranker import PaperConfig, fit_paper, score_options

    config = PaperConfig(steps=PAPER_STEPS, learning_rate=PAPER_RATE)
    sums = [
        add_up(score_options(fit_paper(list(task.labelled), task.y, rng, config), task.space))
        for _ in range(nets)
    ]
    mean: Floats = np.mean(sums, axis=0)[task.indices]
    return mean


def autobuild_paper_one(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """`autobuild_paper` by one net, as published."""
    return autobuild_paper(task, rng, nets=1)


def exhaustive(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """The GNN's prediction, as in scoring every member of the space."""
    return task.scored.predicted[task.indices].astype(np.float64)


def autobuild_probe(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """`autobuild` by the GNN that knows the probe."""
    from sdsearch.ranker import score_units

    scores = score_units(task.fitted_probe, task.space, task.scored_probe)
    return add_up(scores.values())[task.indices]


def exhaustive_probe(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """`exhaustive` by the GNN that knows the probe."""
    return task.scored_probe.predicted[task.indices].astype(np.float64)


def ridge(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """Ridge regression on which slots are kept."""
    labelled, candidates = task.kept
    return fit_ridge(labelled, task.y).predict(candidates)


def ridge_probe(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """Ridge regression on which slots are kept and the logarithm of the one-shot error."""
    labelled, candidates = (
        columns_of("ridge-probe", kept, errors_of(archs, task.space, task.errors))
        for kept, archs in zip(task.kept, (task.labelled, task.candidates), strict=True)
    )
    return fit_ridge(labelled, task.y).predict(candidates)


def forest(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """A random forest on which slots are kept."""
    labelled, candidates = task.kept
    return fit_forest(labelled, task.y, int(rng.integers(2**31))).predict(candidates)


def one_shot(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """The less the teacher's output loses with all that is removed, the better; no labels."""
    return -errors_of(task.candidates, task.space, task.errors)


def most_params(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """The more parameters, the better; no labels."""
    backbone = task.space.backbone
    return np.array([count_params(arch, backbone) for arch in task.candidates], dtype=np.float64)


def most_macs(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """The more multiply-accumulates, the better; no labels."""
    backbone = task.space.backbone
    return np.array([count_macs(a, backbone).total for a in task.candidates], dtype=np.float64)


def evolution(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """The next generation of regularised evolution: how many children fall on a candidate.

    Parents win tournaments among the labelled; a child takes another option in one unit, and the
    candidate that shares most slots with it is what the table can measure of it.
    """
    _, candidates = task.kept
    digits = task.space.digits(np.array([task.space.index(arch) for arch in task.labelled]))
    votes = np.zeros(len(candidates))
    for _ in range(CHILDREN):
        rivals = rng.integers(len(task.y), size=TOURNAMENT)
        child = digits[rivals[np.argmax(task.y[rivals])]].copy()
        unit = int(rng.integers(len(child)))
        child[unit] = rng.integers(task.space.radices[unit])
        arch = task.space.arch(int(task.space.indices(child[None])[0]))
        distance = np.abs(candidates - slots_kept([arch])).sum(1)
        votes[rng.choice(np.flatnonzero(distance == distance.min()))] += 1
    # Candidates that no child falls on come last, in random order.
    return votes + rng.random(len(votes)) * 0.5


def random(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """Any order."""
    return rng.random(len(task.candidates))


METHODS: dict[str, Method] = {
    "autobuild": Method(autobuild),
    "autobuild-paper": Method(autobuild_paper),
    "autobuild-paper-one": Method(autobuild_paper_one),
    "autobuild-probe": Method(autobuild_probe, probed=True),
    "exhaustive": Method(exhaustive),
    "exhaustive-probe": Method(exhaustive_probe, probed=True),
    "ridge": Method(ridge),
    "ridge-probe": Method(ridge_probe, probed=True),
    "forest": Method(forest),
    "evolution": Method(evolution),
    "one-shot": Method(one_shot, learns=False, probed=True),
    "most-macs": Method(most_macs, learns=False),
    "most-params": Method(most_params, learns=False),
    "random": Method(random, learns=False),
}


def default_methods(probe: Probe | None) -> list[str]:
    """All methods that can run: those that need a probe only where there is one."""
    return [name for name, method in METHODS.items() if probe is not None or not method.probed]


def find_methods(names: Iterable[str], probe: Probe | None) -> dict[str, Method]:
    """Methods by name, built-in ones or "module:function".

    Raises:
        InputError: there is none of a name, or it needs a probe and there is none.
    """
    found = {name: find_method(name, METHODS) for name in names}
    if lacking := [name for name, method in found.items() if method.probed and probe is None]:
        raise InputError(
            f"{', '.join(lacking)} must have a probe of the teacher, but there is none; run: "
            "sdsearch probe STUDY, and give its probe.json"
        )
    return found
