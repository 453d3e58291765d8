"""Pools of planted labels for tests of replays, and methods that know the truth or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.labels.target import Target
from sdsearch.replay.pool import BudgetShare, Pool, read_pool
from sdsearch.replay.replay import Method, ReplayTask
from sdsearch.space.space import search_space
from tests.fakes import measured
from tests.planted import PlantedTruth

if TYPE_CHECKING:
    from sdsearch.design.probe import Probe
    from sdsearch.labels.label import Label
    from sdsearch.replay.pool import Floats

SPACE = search_space("tiny")
TARGET = Target("-log(fd_efflite0)")
TRUTH = PlantedTruth.draw(np.random.default_rng(5))
BUDGETS = (None, BudgetShare("params", 0.6))


def planted_labels(count: int = 60) -> list[Label]:
    """Labels of uniform members with the planted truth; no default sample is among them."""
    archs = SPACE.sample(count, np.random.default_rng(7))
    return [measured(arch, float(fd)) for arch, fd in zip(archs, TRUTH.fid(archs), strict=True)]


def pool_of(labels: list[Label], probe: Probe | None = None) -> Pool:
    return read_pool(labels, SPACE, TARGET, "fd_efflite0", probe=probe)


def know(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """A user's method that happens to know the truth."""
    return -TRUTH.fid(task.candidates)


def mistake(task: ReplayTask, rng: np.random.Generator) -> Floats:
    return -know(task, rng)


ORACLE, WRONG = Method(know), Method(mistake)
