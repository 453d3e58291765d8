"""The search methods that a replay compares; each is one function of a `ReplayTask`.

A method of your own is such a function too, given as "module:function" (docs/tiny-benchmark.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.design import TOURNAMENT
from sdsearch.ranker import fit_forest, fit_ridge
from sdsearch.replay.replay import slots_kept
from sdsearch.space import add_up
from sdsearch.unet import count_params

if TYPE_CHECKING:
    from sdsearch.replay.replay import Floats, ReplayTask, SearchMethod

PAPER_STEPS, PAPER_RATE = 220, 2e-3
"""A twentieth of the published steps at twenty times the rate: a replay trains dozens of them."""
CHILDREN = 400


def autobuild(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """Sum of unit scores by the GNN, as the builder adds them up."""
    from sdsearch.ranker import score_units

    scores = score_units(task.fitted, task.space, task.scored, "graph")
    return add_up(scores.values())[task.indices]


def autobuild_paper(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """Sum of option scores by the published method, its training shortened to `PAPER_STEPS`."""
    from sdsearch.ranker import PaperConfig, fit_paper, score_options

    config = PaperConfig(steps=PAPER_STEPS, learning_rate=PAPER_RATE)
    scores = score_options(fit_paper(list(task.labelled), task.y, rng, config), task.space)
    return add_up(scores)[task.indices]


def exhaustive(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """The GNN's prediction, as in scoring every member of the space."""
    return task.scored.predicted[task.indices].astype(np.float64)


def ridge(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """Ridge regression on which slots are kept."""
    labelled, candidates = task.kept
    return fit_ridge(labelled, task.y).predict(candidates)


def forest(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """A random forest on which slots are kept."""
    labelled, candidates = task.kept
    return fit_forest(labelled, task.y, int(rng.integers(2**31))).predict(candidates)


def params(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """The more parameters, the better."""
    backbone = task.space.backbone
    return np.array([count_params(arch, backbone) for arch in task.candidates], dtype=np.float64)


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


METHODS: dict[str, SearchMethod] = {
    "autobuild": autobuild,
    "autobuild-paper": autobuild_paper,
    "exhaustive": exhaustive,
    "ridge": ridge,
    "forest": forest,
    "params": params,
    "evolution": evolution,
    "random": random,
}
