"""The methods of search, replayed on a table of measured architectures.

Each resampling labels a random N of the pool's uniform members, hands them to every method, and
looks up the truth of what the method ranks first among the others, the teacher left out. All
methods see the same N: common random numbers.
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

from sdsearch.errors import InputError, suggest
from sdsearch.replay.pool import BUILT, BudgetShare, Floats, Pool, Rows, say_budget
from sdsearch.stats import ndcg_at, spearman
from sdsearch.unet import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sdsearch.design import PredictorKind, Probe, SpaceScores
    from sdsearch.ranker import FittedRanker
    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

MEMBERS = 5
"""Nets that are trained and averaged, by the published method as by ours."""


@dataclass(frozen=True)
class ReplayTask:
    """What a method is given: N labelled architectures and the candidates to rank.

    Attributes:
        space: the space that all are members of.
        labelled: the architectures with a known target.
        y: (N,) their targets, higher is better.
        candidates: (M) architectures without a label; the teacher is none of them.
        probe: what the teacher loses with each removal, where that is known.
    """

    space: SearchSpace
    labelled: tuple[Architecture, ...]
    y: Floats
    candidates: tuple[Architecture, ...]
    probe: Probe | None = None

    @cached_property
    def kept(self) -> tuple[Floats, Floats]:
        """Which slots are kept, 0 or 1: (N, 46) of the labelled, (M, 46) of the candidates."""
        return slots_kept(self.labelled), slots_kept(self.candidates)

    @cached_property
    def fitted(self) -> FittedRanker:
        """The ranking GNN on the labels: `MEMBERS` members, each without one fold."""
        return fit_members(self, "gnn")

    @cached_property
    def scored(self) -> SpaceScores:
        """The GNN's predictions for the whole space."""
        from sdsearch.ranker import score_space

        return score_space(self.fitted, self.space)

    @cached_property
    def errors(self) -> tuple[Floats, ...]:
        """The probe's errors, per unit those of its options: (options,) each.

        Raises:
            InputError: there is no probe.
        """
        if self.probe is None:
            raise InputError(
                f"a method that knows what the teacher loses needs a probe of {self.space.name}, "
                "but there is none; run: sdsearch probe STUDY, and give its probe.json"
            )
        return self.probe.option_errors(self.space)

    @cached_property
    def fitted_probe(self) -> FittedRanker:
        """The GNN of `fitted`, but with the probe's errors as a column of its slots."""
        return fit_members(self, "gnn-probe")

    @cached_property
    def scored_probe(self) -> SpaceScores:
        """The predictions of `fitted_probe` for the whole space."""
        from sdsearch.ranker import score_space

        return score_space(self.fitted_probe, self.space)

    @cached_property
    def indices(self) -> npt.NDArray[np.int64]:
        """(M,) the candidates' numbers in the space."""
        return np.array([self.space.index(arch) for arch in self.candidates])


def fit_members(task: ReplayTask, kind: PredictorKind, steps: int | None = None) -> FittedRanker:
    """One kind of net on a task's labels; `steps` of training are the ranker's default."""
    from sdsearch.ranker import RankerConfig, fit_ranker

    config = RankerConfig(kind=kind, folds=MEMBERS, repeats=1, baselines=False)
    config = config.model_copy(update={} if steps is None else {"steps": steps})
    labelled, rng = list(task.labelled), np.random.default_rng(0)
    return fit_ranker(task.space, labelled, task.y.tolist(), config, rng, probe=task.probe)


def slots_kept(architectures: Sequence[Architecture]) -> Floats:
    """(n, 46) which slots are kept, 0 or 1, in order of execution."""
    return np.array(
        [[slot.name in arch.kept_slots for slot in SLOTS] for arch in architectures],
        dtype=np.float64,
    )


SearchMethod = Callable[[ReplayTask, np.random.Generator], Floats]
"""A search method: how good it takes each candidate to be, (M,), higher is better."""


@dataclass(frozen=True, slots=True)
class Method:
    """A search method and what it needs.

    Attributes:
        rank: the method itself.
        learns: whether it looks at labels; one that does not has paid for none.
        probed: whether it needs a probe.
    """

    rank: SearchMethod
    learns: bool = True
    probed: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """What one method found in one resampling under one budget.

    Attributes:
        budget: what the picks may cost, None for no limit.
        srcc: rank correlation over all candidates, whatever the budget.
        ndcg: NDCG@4 among the candidates within the budget.
        mean: mean quality of the four ranked first, lower is better.
        best: the best of them.
        regret: `best` minus the best quality among the candidates.
        needed: labels until one of the best 1 % of the candidates is found, the N included where
            the method learns from them.
    """

    method: str
    budget: BudgetShare | None
    resampling: int
    srcc: float
    ndcg: float
    mean: float
    best: float
    regret: float
    needed: int


def find_method(name: str, known: Mapping[str, Method]) -> Method:
    """A built-in method by its name, or the user's own as "module:function".

    Raises:
        InputError: there is no such method, module or function.
    """
    if name in known:
        return known[name]
    module, _, function = name.partition(":")
    if not function:
        raise InputError(
            f"a method must be one of {', '.join(known)} or MODULE:FUNCTION, but is {name!r}"
            f"{suggest(name, known)}"
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
    return Method(found)


def replay_once(
    pool: Pool,
    methods: Mapping[str, Method],
    budgets: Sequence[BudgetShare | None],
    labels: int,
    seed: tuple[int, int],
) -> Iterator[Trial]:
    """One resampling, `seed` = (seed, its number): every method, judged under every budget.

    Raises:
        InputError: a method returns something else than one finite value for each candidate, or
            needs a probe where there is none.
    """
    train = pool.draw(labels, seed)
    rest = pool.others(train)
    task = make_task(pool, train, rest)
    for name, method in methods.items():
        # A stream of its own by name, so that adding a method changes no other's result.
        values = method.rank(task, np.random.default_rng([*seed, 1, *name.encode()]))
        values = np.asarray(values, dtype=np.float64)
        if values.shape != (len(rest),) or np.isnan(values).any():
            raise InputError(
                f"the method {name!r} must return {len(rest)} values, one for each candidate and "
                f"none of them NaN, but returned shape {values.shape}"
            )
        paid = len(train) if method.learns else 0
        for budget in budgets:
            yield _judge(pool, rest, values, budget, (name, seed[1], paid))


def make_task(pool: Pool, labelled: Rows, candidates: Rows) -> ReplayTask:
    """What a method is given of a pool where some rows are labelled."""
    return ReplayTask(
        pool.space,
        tuple(pool.architectures[i] for i in labelled),
        pool.y[labelled],
        tuple(pool.architectures[i] for i in candidates),
        pool.probe,
    )


def pick_best(pool: Pool, rest: Rows, values: Floats, budget: BudgetShare | None) -> Rows:
    """All candidates within the budget, best first; `values` (M,) are of `rest`, (M,).

    Raises:
        InputError: fewer than `BUILT` are within the budget.
    """
    within = np.flatnonzero(pool.allowed(budget)[rest])
    if len(within) < BUILT:
        raise InputError(
            f"a replay needs {BUILT} candidates, but {len(within)} are within "
            f"{say_budget(budget)}; take fewer labels or a larger share"
        )
    return rest[within[np.argsort(-values[within], kind="stable")]]


def _judge(
    pool: Pool,
    rest: Rows,
    values: Floats,
    budget: BudgetShare | None,
    whose: tuple[str, int, int],
) -> Trial:
    """Look up what the method would have got, and how far that is from the best there was.

    `whose` is the method's name, the number of the resampling and the labels that were paid for.
    """
    name, resampling, paid = whose
    ranking = pick_best(pool, rest, values, budget)
    found, best_first = pool.quality[ranking[:BUILT]], np.argsort(-pool.y[ranking], kind="stable")
    best = best_first[: max(1, round(0.01 * len(ranking)))]  # places of the best 1 %
    return Trial(
        method=name,
        budget=budget,
        resampling=resampling,
        srcc=spearman(pool.y[rest], values),
        ndcg=ndcg_at(pool.y[ranking], -np.arange(len(ranking), dtype=np.float64), BUILT),
        mean=float(found.mean()),
        best=float(found.min()),
        regret=float(found.min() - pool.quality[ranking].min()),
        needed=paid + int(best.min()) + 1,
    )
