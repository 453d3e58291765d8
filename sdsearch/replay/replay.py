"""The methods of search, replayed on a table of measured architectures.

Each resampling labels a random N of the table, hands them to every method, and looks up the truth
of what the method ranks first among the others. All methods see the same N: common random numbers.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sdsearch.errors import InputError, nearest
from sdsearch.stats import ndcg_at, spearman
from sdsearch.unet import SLOTS, UNPRUNED, count_params

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdsearch.design import SpaceScores
    from sdsearch.labels import Label, Target
    from sdsearch.ranker import FittedRanker
    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

Floats = npt.NDArray[np.float64]

BUILT = 4  # designs are built and measured by fours
SMALLEST_POOL = 20


@dataclass(frozen=True)
class ReplayTask:
    """What a method is given: N labelled architectures and the candidates to rank.

    Attributes:
        space: the space that all are members of.
        labelled: the architectures with a known target.
        y: (N,) their targets, higher is better.
        candidates: (M) architectures without a label.
    """

    space: SearchSpace
    labelled: tuple[Architecture, ...]
    y: Floats
    candidates: tuple[Architecture, ...]

    @cached_property
    def kept(self) -> tuple[Floats, Floats]:
        """Which slots are kept, 0 or 1: (N, 46) of the labelled, (M, 46) of the candidates."""
        return slots_kept(self.labelled), slots_kept(self.candidates)

    @cached_property
    def fitted(self) -> FittedRanker:
        """The ranking GNN on the labels: five members, each without one fold."""
        from sdsearch.ranker import RankerConfig, fit_ranker

        config = RankerConfig(kind="gnn", repeats=1, baselines=False)
        rng = np.random.default_rng(0)
        return fit_ranker(self.space, list(self.labelled), self.y.tolist(), config, rng)

    @cached_property
    def scored(self) -> SpaceScores:
        """The GNN's predictions for the whole space."""
        from sdsearch.ranker import score_space

        return score_space(self.fitted, self.space)

    @cached_property
    def indices(self) -> npt.NDArray[np.int64]:
        """(M,) the candidates' numbers in the space."""
        return np.array([self.space.index(arch) for arch in self.candidates])


def slots_kept(architectures: Sequence[Architecture]) -> Floats:
    """(n, 46) which slots are kept, 0 or 1, in order of execution."""
    return np.array(
        [[slot.name in arch.kept_slots for slot in SLOTS] for arch in architectures],
        dtype=np.float64,
    )


SearchMethod = Callable[[ReplayTask, np.random.Generator], Floats]
"""A search method: how good it takes each candidate to be, (M,), higher is better."""


@dataclass(frozen=True)
class Pool:
    """The measured architectures of a table.

    Attributes:
        architectures: (P) distinct members of the space.
        y: (P,) target, higher is better; a failed label counts as the worst.
        quality: (P,) the column that results are told in, lower is better.
        share: (P,) parameters as a share of the unpruned member's.
    """

    space: SearchSpace
    architectures: tuple[Architecture, ...]
    y: Floats
    quality: Floats
    share: Floats
    column: str

    def allowed(self, budget: float | None) -> npt.NDArray[np.bool_]:
        """(P,) which members have at most `budget` of the parameters."""
        return self.share <= (np.inf if budget is None else budget)


@dataclass(frozen=True, slots=True)
class Trial:
    """What one method found in one resampling under one budget.

    Attributes:
        budget: most parameters as a share, None for no limit.
        srcc: rank correlation over all candidates, whatever the budget.
        ndcg: NDCG@4 among the candidates within the budget.
        mean: mean quality of the four ranked first, lower is better.
        best: the best of them.
        regret: `best` minus the best quality among the candidates.
        needed: labels until one of the best 1 % of the candidates is found, the N included.
    """

    method: str
    budget: float | None
    resampling: int
    srcc: float
    ndcg: float
    mean: float
    best: float
    regret: float
    needed: int


def read_pool(
    labels: Sequence[Label], space: SearchSpace, target: Target, column: str, protocol: str | None
) -> Pool:
    """The pool of one protocol's labels under label seed 0; the commonest protocol by default.

    Raises:
        InputError: too few architectures are measured, or one is no member of the space.
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
    total = count_params(UNPRUNED, space.backbone)
    for label in found:
        space.option_indices(label.architecture)  # says why where it is no member
    return Pool(
        space,
        tuple(label.architecture for label in found),
        np.array([y.get(label.arch_key, min(y.values())) for label in found]),
        np.array([quality.get(label.arch_key, max(quality.values())) for label in found]),
        np.array([count_params(x.architecture, space.backbone) / total for x in found]),
        column,
    )


def check_replay(pool: Pool, budgets: Sequence[float | None], labels: int) -> None:
    """Raise `InputError` where a replay could not have `BUILT` candidates under every budget."""
    for budget in budgets:
        if budget is not None and not 0 < budget <= 1:
            raise InputError(f"a budget is a share with 0 < share <= 1, but is {budget}")
        count = int(pool.allowed(budget).sum())
        left = round(count * (1 - labels / len(pool.y)))
        if left < 2 * BUILT:
            raise InputError(
                f"a replay needs {2 * BUILT} candidates, but of {len(pool.y)} architectures "
                f"{count} are within {budget or 'no budget'} and {labels} labels leave about "
                f"{max(left, 0)}; take fewer labels or a larger share"
            )


def find_method(name: str, known: Mapping[str, SearchMethod]) -> SearchMethod:
    """A built-in method by its name, or the user's own as "module:function".

    Raises:
        InputError: there is no such method, module or function.
    """
    if name in known:
        return known[name]
    module, _, function = name.partition(":")
    if not function:
        raise InputError(
            f"a method must be one of {', '.join(known)} or MODULE:FUNCTION, but is {name!r}; did "
            f"you mean {nearest(name, known)!r}?"
        )
    if "" not in sys.path:
        # A console script does not look into the folder at hand, where the user's file is.
        sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the method {name!r} must be importable, but {error}") from None
    if not callable(found):
        raise InputError(
            f"the method {name!r} must be a function of a ReplayTask, but is no function"
        )
    method: SearchMethod = found
    return method


def replay_once(
    pool: Pool,
    methods: Mapping[str, SearchMethod],
    budgets: Sequence[float | None],
    labels: int,
    seed: tuple[int, int],
) -> Iterator[Trial]:
    """One resampling, `seed` = (seed, its number): every method, judged under every budget.

    Raises:
        InputError: a method returns something else than one finite value for each candidate.
    """
    order = np.random.default_rng([*seed, 0]).permutation(len(pool.y))
    train, rest = order[:labels], np.sort(order[labels:])
    task = ReplayTask(
        pool.space,
        tuple(pool.architectures[i] for i in train),
        pool.y[train],
        tuple(pool.architectures[i] for i in rest),
    )
    for name, method in methods.items():
        # A stream of its own by name, so that adding a method changes no other's result.
        values = method(task, np.random.default_rng([*seed, 1, *name.encode()]))
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(rest),) or np.isnan(values).any():
            raise InputError(
                f"the method {name!r} must return {len(rest)} values, one for each candidate and "
                f"none of them NaN, but returned shape {values.shape}"
            )
        for budget in budgets:
            yield _judge(pool, rest, values, budget, name, seed[1])


def _judge(
    pool: Pool,
    rest: npt.NDArray[np.int64],
    values: Floats,
    budget: float | None,
    name: str,
    resampling: int,
) -> Trial:
    """Look up what the method would have got, and how far that is from the best there was."""
    within = np.flatnonzero(pool.allowed(budget)[rest])
    at = rest[within]
    if len(at) < BUILT:
        raise InputError(
            f"resampling {resampling} leaves {len(at)} of {BUILT} candidates within a share of "
            f"{budget}; take fewer labels or a larger share"
        )
    ranking = at[np.argsort(-values[within], kind="stable")]
    found = pool.quality[ranking[:BUILT]]
    best = set(at[np.argsort(-pool.y[at], kind="stable")][: max(1, round(0.01 * len(at)))])
    first = next(place for place, i in enumerate(ranking) if i in best)
    return Trial(
        method=name,
        budget=budget,
        resampling=resampling,
        srcc=spearman(pool.y[rest], values),
        ndcg=ndcg_at(pool.y[at], values[within], BUILT),
        mean=float(found.mean()),
        best=float(found.min()),
        regret=float(found.min() - pool.quality[at].min()),
        needed=len(pool.y) - len(rest) + first + 1,
    )
