"""The measured architectures of a table: who is labelled, who may be picked, what they cost.

A user draws labels uniformly, and hardly ever one near the teacher; the members near it are those
that a search has to find. So labels are drawn from a uniform sample where the table holds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from sdsearch.errors import InputError
from sdsearch.labels import Latency
from sdsearch.study import SpaceConfig
from sdsearch.unet import UNPRUNED, count_macs, count_params

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdsearch.design import Probe
    from sdsearch.labels import Label, Target
    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
"""(n,) positions in a pool."""
Limited = Literal["params", "macs", "latency_ms"]

BUILT = 4  # designs are built and measured by fours
SMALLEST_POOL = 20
UNIFORM = 256
"""Members that were drawn uniformly in every world (`world.read_world`)."""
_UNIFORM = {
    UNIFORM: "the uniform members of a world",
    SpaceConfig().labels: "the uniform sample of a study",
}
_WORDS: dict[Limited, str] = {
    "params": "parameters",
    "macs": "multiply-accumulates",
    "latency_ms": "latency",
}


@dataclass(frozen=True, slots=True)
class BudgetShare:
    """An upper limit on what a pick may cost, as a share of the teacher's cost.

    Raises:
        InputError: the share is not above 0 and at most 1.

    >>> str(BudgetShare("macs", 0.7))
    '<= 70% of the multiply-accumulates'
    """

    resource: Limited
    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(
                f"a budget is a share with 0 < share <= 1, but is {self.share}; 0.6 is 60 %"
            )

    def __str__(self) -> str:
        return f"<= {self.share:.0%} of the {_WORDS[self.resource]}"


@dataclass(frozen=True)
class Pool:
    """The measured architectures of a table.

    Attributes:
        architectures: (P) distinct members of the space.
        y: (P,) target, higher is better; a failed label counts as the worst.
        quality: (P,) the column that results are told in, lower is better.
        shares: by resource (P,) costs as shares of the unpruned member's.
        drawn: (P,) from which members the labels that methods learn from are drawn.
        source: which those are, in words.
        column: the name of `quality`.
        probe: what the teacher loses with each removal, where that is known.
    """

    space: SearchSpace
    architectures: tuple[Architecture, ...]
    y: Floats
    quality: Floats
    shares: Mapping[Limited, Floats]
    drawn: npt.NDArray[np.bool_]
    source: str
    column: str
    probe: Probe | None = None

    def allowed(self, budget: BudgetShare | None) -> npt.NDArray[np.bool_]:
        """(P,) which members may be picked: all within the budget but the teacher.

        Raises:
            InputError: the table does not say what the budget limits.
        """
        found = np.array([arch.key != UNPRUNED.key for arch in self.architectures])
        if budget is None:
            return found
        if budget.resource not in self.shares:
            raise InputError(
                "a budget of latency needs labels that were timed alike, the teacher's too, but "
                "the table has none or several devices; limit parameters or multiply-accumulates"
            )
        return found & (self.shares[budget.resource] <= budget.share)

    def draw(self, labels: int, seed: Sequence[int]) -> Rows:
        """(labels,) random members to label; fewer labels of a seed are the first of more."""
        order = np.random.default_rng([*seed, 0]).permutation(np.flatnonzero(self.drawn))
        return order[:labels].astype(np.int64)

    def others(self, labelled: Rows) -> Rows:
        """The candidates: all members but the labelled ones and the teacher."""
        free = self.allowed(None)
        free[labelled] = False
        return np.flatnonzero(free).astype(np.int64)


def read_pool(
    labels: Sequence[Label],
    space: SearchSpace,
    target: Target,
    column: str,
    protocol: str | None = None,
    probe: Probe | None = None,
) -> Pool:
    """The pool of one protocol's labels under label seed 0; the commonest protocol by default.

    Labels are drawn from the uniform members of a world, else from the sample that a study draws by
    default, where all of them are in the table; and else from all rows but the teacher's.

    Raises:
        InputError: too few architectures are measured, one is no member of the space, or the probe
            is of another space.
    """
    found = [label for label in labels if label.seed == 0]
    keys = [label.protocol_key for label in found]
    protocol = protocol or (max(sorted(set(keys)), key=keys.count) if keys else None)
    found = [label for label in found if label.protocol_key == protocol]
    measured = [label for label in found if label.status == "ok"]
    if len(measured) < SMALLEST_POOL:
        raise InputError(
            f"a replay needs {SMALLEST_POOL} measured architectures of one protocol, but the table "
            f"has {len(measured)} of {protocol}; label more first: sdsearch label STUDY"
        )
    y = {label.arch_key: target.evaluate(label) for label in measured}
    quality = {label.arch_key: label.scalar(column) for label in measured}
    for label in found:
        space.option_indices(label.architecture)  # says why where it is no member
    if probe is not None:
        probe.option_errors(space)  # says why where it is of another space
    drawn, source = _find_drawn(found, space)
    return Pool(
        space,
        tuple(label.architecture for label in found),
        np.array([y.get(label.arch_key, min(y.values())) for label in found]),
        np.array([quality.get(label.arch_key, max(quality.values())) for label in found]),
        _cost_shares(found, space),
        drawn,
        source,
        column,
        probe,
    )


def check_replay(pool: Pool, budgets: Sequence[BudgetShare | None], labels: int) -> None:
    """Raise `InputError` where labels or, under a budget, candidates would be too few."""
    most = int(pool.drawn.sum())
    if labels > most:
        raise InputError(
            f"labels are drawn from {pool.source}, {most} architectures, but {labels} are asked "
            f"for; take at most {most}"
        )
    for budget in budgets:
        allowed = pool.allowed(budget)
        left = round(float(allowed.sum() - (allowed & pool.drawn).sum() * labels / most))
        if left < 2 * BUILT:
            raise InputError(
                f"a replay needs {2 * BUILT} candidates, but {int(allowed.sum())} of "
                f"{len(pool.y)} architectures are within {say_budget(budget)} and {labels} labels "
                f"leave about {left}; take fewer labels or a larger share"
            )


def say_budget(budget: BudgetShare | None) -> str:
    """A budget in words."""
    return "no budget" if budget is None else str(budget)


def mean_overlap(draws: Sequence[Rows]) -> float:
    """The mean share of labels that two draws of one size have in common; 1 for a single draw.

    >>> mean_overlap([np.array([1, 2]), np.array([2, 3]), np.array([4, 5])])
    0.16666666666666666
    """
    pairs = list(combinations(draws, 2))
    shares = [len(np.intersect1d(one, other)) / len(one) for one, other in pairs]
    return float(np.mean(shares)) if pairs else 1.0


def _find_drawn(found: Sequence[Label], space: SearchSpace) -> tuple[npt.NDArray[np.bool_], str]:
    """Which rows labels are drawn from, (P,), and which those are in words."""
    keys, seed = [label.arch_key for label in found], SpaceConfig().seed
    for count, source in _UNIFORM.items():
        if count <= len(space):
            sample = space.sample(count, np.random.default_rng(seed))
            uniform = {arch.key for arch in sample}
            if uniform <= set(keys):
                drawn = uniform - {UNPRUNED.key}
                return np.array([key in drawn for key in keys]), source
    return np.array([key != UNPRUNED.key for key in keys]), "all rows but the teacher's"


def _cost_shares(found: Sequence[Label], space: SearchSpace) -> dict[Limited, Floats]:
    """Costs as shares of the unpruned member's, (P,) each; latency only where all is comparable."""
    archs, backbone = [UNPRUNED, *(label.architecture for label in found)], space.backbone
    params = np.array([count_params(arch, backbone) for arch in archs], dtype=np.float64)
    macs = np.array([count_macs(arch, backbone).total for arch in archs], dtype=np.float64)
    shares: dict[Limited, Floats] = {"params": params[1:] / params[0], "macs": macs[1:] / macs[0]}
    times = {label.arch_key: label.values.get("latency_ms") for label in found}
    timed = {key: time for key, time in times.items() if isinstance(time, Latency)}
    measured = {label.arch_key for label in found if label.status == "ok"}
    alike = {time.model_dump_json(exclude={"median", "iqr", "n"}) for time in timed.values()}
    if measured <= timed.keys() and len(alike) == 1 and UNPRUNED.key in timed:
        whole = timed[UNPRUNED.key].median
        # What failed was not timed, and fits no budget.
        shares["latency_ms"] = np.array(
            [timed[key].median / whole if key in timed else np.inf for key in times]
        )
    return shares
