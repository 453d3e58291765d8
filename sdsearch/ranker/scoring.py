"""Scoring every member of a space exactly, and reading scores off the fitted ranker.

An embedding after h hops depends only on what lies within h hops upstream, so a few thousand
distinct slot computations cover all 704,000 members: `HopPlan` lists them. What is averaged over
backgrounds elsewhere is averaged here over all members of the space, with no sampling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sdsearch.design import (
    BlockScore,
    OptionScore,
    Scores,
    SpaceScores,
    UnitScores,
    log_errors,
)
from sdsearch.errors import InputError
from sdsearch.ranker.baselines import kept_slots
from sdsearch.ranker.net import PlanTensors, gather
from sdsearch.ranker.plan import plan_space
from sdsearch.ranker.rules import (
    hop_weights,
    read_norms,
    rule_scores,
    slot_norms,
    stability,
)
from sdsearch.ranker.validation import columns_of
from sdsearch.unet import SLOTS, build_graph

if TYPE_CHECKING:
    from sdsearch.design import NormRule, PredictorKind, Rule
    from sdsearch.ranker.fit import FittedRanker
    from sdsearch.ranker.plan import HopPlan
    from sdsearch.ranker.training import FittedNet
    from sdsearch.space import SearchSpace, Unit

Floats = npt.NDArray[np.float64]


def score_space(
    fitted: FittedRanker, space: SearchSpace, kind: PredictorKind | None = None
) -> SpaceScores:
    """Predicted target of all members, in the order of `space.index`, mean over the ensemble.

    A space with widths to choose is scored part by part (see `SearchSpace.width_parts`). `kind`
    asks for another predictor than the one that the fit chose.
    """
    fitted.layout.check_space(space)
    kind = kind or fitted.kind
    if fitted.errors is not None and tuple(map(len, fitted.errors)) != space.radices:
        raise InputError(
            f"a fit with a probe must be scored in the space of the probe, but {space.name} has "
            f"other options; fit in it: sdsearch fit STUDY"
        )
    shape = space.radices
    predicted, spread = np.empty(shape, np.float32), np.empty(shape, np.float32)
    net = fitted.nets.get(kind)
    models = fitted.baselines[kind].fits if net is None else len(net.centre)
    sums = [np.zeros((size, models)) for size in shape]
    for digits, part in space.width_parts:
        if net is not None:
            found = _score_part(net, part)
        else:
            found = _score_with(kind, fitted, part, digits)
        where = np.ix_(*digits)
        predicted[where] = found.predicted.reshape(part.radices)
        spread[where] = found.spread.reshape(part.radices)
        for total, numbers, marginal in zip(sums, digits, found.marginals, strict=True):
            total[numbers] += marginal * (len(part) / len(numbers))
    marginals = tuple(total / (len(space) / len(total)) for total in sums)
    return SpaceScores(predicted.reshape(-1), spread.reshape(-1), marginals)


def _score_part(net: FittedNet, space: SearchSpace) -> SpaceScores:
    """`score_space` of nets where every unit has one width.

    The head is linear up to its ReLU, so it is applied to the few rows of the tables, and a member
    only adds up what its slots have become.
    """
    shape = space.radices  # (a, b, c, d) options of the four units
    with torch.inference_mode():
        plan = plan_space(space, net.layout, net.hops)
        last = net.ranker.embed(PlanTensors.of(plan, batch=False))[-1]  # (items, members, width)
        tables = [  # each (a, b, c, d, members, width), with 1 for units it does not depend on
            net.ranker.head.project(table.flatten(0, 3) / len(SLOTS)).reshape(table.shape)
            for table in _tables(plan, last)
        ]
        predicted, spread = np.empty(shape, np.float32), np.empty(shape, np.float32)
        sums = [np.zeros((size, len(net.centre))) for size in shape]
        for first in range(shape[0]):  # one option of unit 0 at a time, for memory
            total = torch.zeros(*shape[1:], *last.shape[1:])  # (b, c, d, members, width)
            for table in tables:
                total += table[min(first, len(table) - 1)]
            # (b, c, d, members), back in units of the target
            y = net.ranker.head.finish(total) * net.spread + net.centre
            predicted[first] = y.mean(-1).numpy()
            spread[first] = y.std(-1, correction=0).numpy()
            _add_option(sums, first, y.double().numpy())
    marginals = tuple(total / (len(space) / len(total)) for total in sums)
    return SpaceScores(predicted.reshape(-1), spread.reshape(-1), marginals)


def _add_option(sums: list[Floats], first: int, predicted: Floats) -> None:
    """Add (b, c, d, members) predictions of option `first` of unit 0 to the sums of all options."""
    sums[0][first] = predicted.sum((0, 1, 2))
    for axis, dims in ((1, (1, 2)), (2, (0, 2)), (3, (0, 1))):
        sums[axis] += predicted.sum(dims)


def score_units(
    fitted: FittedRanker,
    space: SearchSpace,
    scored: SpaceScores,
    rule: Rule = "partial-dependence",
) -> Scores:
    """Scores of blocks and unit options; `scored` is `score_space(fitted, space)`.

    `effect` is partial dependence, and so is `score`, unless `rule` is one of embedding norms:
    then it orders options by them (see `_norm_scores`). A baseline has no embeddings, so that its
    rule is always its effect.
    """
    fitted.layout.check_space(space)
    net = fitted.net
    effects = [marginal - marginal.mean(0) for marginal in scored.marginals]
    if net is None or rule == "partial-dependence":
        rule, read = "partial-dependence", effects
    else:
        read = _norm_scores(rule, net, space, effects, hop_weights(fitted))
    return Scores(
        space=space.name,
        kind=fitted.kind,
        rule=rule,
        mean=float(scored.predicted.mean(dtype=np.float64)),
        blocks=tuple(
            block
            for axis, effect in enumerate(effects)
            for block in _block_scores(space, axis, effect)
        ),
        units=tuple(
            _unit_scores(unit, effect, scores)
            for unit, effect, scores in zip(space.units, effects, read, strict=True)
        ),
        norms=None if net is None else read_norms(net, space, hop_weights(fitted)),
    )


def _norm_scores(
    rule: NormRule, net: FittedNet, space: SearchSpace, effects: list[Floats], weights: Floats
) -> list[Floats]:
    """Per unit (options, members) scores by norms, as large as the effects of its options.

    Norms have no unit and are standardised within a level. Added up as they are, a level that
    hardly matters would count as much as any other: so each level's mean scores are given the
    deviation of its mean effects.
    """
    found = []
    for unit, norms, effect in zip(space.units, slot_norms(net, space), effects, strict=True):
        scores = rule_scores(rule, norms, unit.name, weights)
        deviation = scores.mean(1).std()
        found.append(scores * (effect.mean(1).std() / deviation if deviation > 1e-12 else 0.0))
    return found


def _tables(plan: HopPlan, last: Tensor) -> list[Tensor]:
    """Sum of the slots' embeddings, as few tables that broadcast to (units..., members, width)."""
    # Slots that depend on the same units have tables of one shape: add them up.
    tables: dict[tuple[int, ...], Tensor] = {}
    for items in plan.items[-1]:
        table = gather(last, torch.from_numpy(items))  # (*items.shape, members, width)
        tables[items.shape] = tables[items.shape] + table if items.shape in tables else table
    found: dict[tuple[int, ...], Tensor] = {}
    for shape, table in sorted(tables.items(), key=lambda pair: -int(np.prod(pair[0]))):
        # From large to small: fold a table into one that already spans its axes.
        host = next((s for s in found if np.broadcast_shapes(s, shape) == s), None)
        if host is None:
            found[shape] = table
        else:
            found[host] = found[host] + table
    return list(found.values())


def _unit_scores(unit: Unit, effect: Floats, scores: Floats) -> UnitScores:
    """A unit's options by their effects and the scores of a rule, both (options, members)."""
    means, score = effect.mean(1), scores.mean(1)
    many = len({one.width for one in unit.options} - {None}) > 1
    return UnitScores(
        unit=unit.name,
        stability=stability(scores),
        options=tuple(
            OptionScore(
                option=i,
                words=str(option) if many else str(option.blocks),
                score=float(score[i]),
                effect=float(means[i]),
                spread=float(effect[i].std()),
            )
            for i, option in enumerate(unit.options)
        ),
    )


def _block_scores(space: SearchSpace, axis: int, effect: Floats) -> list[BlockScore]:
    """For each removable slot of a unit: mean change from every option that keeps it."""
    unit = space.units[axis]
    kept = _kept_by_option(space, axis)
    found = []
    for slot in [s.name for s in SLOTS if any(s.name in k for k in kept)]:
        pairs = [
            (i, j)
            for i, names in enumerate(kept)
            if (j := _without(slot, names, kept, _alike(unit, i))) is not None
        ]
        if not pairs:
            continue
        before, after = np.array(pairs).T
        change = (effect[after] - effect[before]).mean(0)
        always = frozenset.intersection(*(kept[i] - kept[j] for i, j in pairs)) - {slot}
        found.append(
            BlockScore(
                name=slot,
                unit=unit.name,
                effect=float(change.mean()),
                spread=float(change.std()),
                together_with=tuple(s.name for s in SLOTS if s.name in always),
            )
        )
    return found


def _kept_by_option(space: SearchSpace, axis: int) -> list[frozenset[str]]:
    """The unit's own slots that each of its options keeps."""
    unit = space.units[axis]
    digits = np.zeros((len(unit.options), len(space.units)), dtype=np.int64)
    digits[:, axis] = np.arange(len(unit.options))
    graphs = [build_graph(space.arch(int(i)), space.backbone) for i in space.indices(digits)]
    return [
        frozenset(
            slot.name
            for slot, state in zip(SLOTS, graph.states, strict=True)
            if state == "kept" and slot.unit == unit.name
        )
        for graph in graphs
    ]


def _alike(unit: Unit, number: int) -> list[int]:
    """The options that differ from one in blocks alone: of its width, or of no own width."""
    width = unit.options[number].width
    return [
        other
        for other, option in enumerate(unit.options)
        if option.width == width or width is None or option.width is None
    ]


def _without(
    slot: str, names: frozenset[str], kept: list[frozenset[str]], among: list[int]
) -> int | None:
    """The option among some that keeps most of `names` but not `slot`, and nothing else."""
    if slot not in names:
        return None
    fits = [j for j in among if slot not in kept[j] and kept[j] < names]
    return max(fits, key=lambda j: len(kept[j]), default=None)


def _score_with(
    kind: PredictorKind,
    fitted: FittedRanker,
    space: SearchSpace,
    digits: tuple[npt.NDArray[np.int64], ...],
) -> SpaceScores:
    """`score_space` of a baseline; `digits` are per unit the numbers of the part's options."""
    plan, model = plan_space(space, fitted.layout, 0), fitted.baselines[kind]
    kept = kept_slots(plan.features, fitted.layout)
    columns = [kept[items] for items in plan.items[0]]  # per slot, broadcasts to the space
    shape = space.radices
    logs = None  # (a, b * c * d) of the one-shot errors
    if fitted.errors is not None:
        errors = tuple(one[numbers] for one, numbers in zip(fitted.errors, digits, strict=True))
        logs = log_errors(errors).reshape(shape[0], -1)
    predicted, spread = np.empty(shape, np.float32), np.empty(shape, np.float32)
    sums = [np.zeros((size, model.fits)) for size in shape]
    for first in range(shape[0]):
        # Per slot (b * c * d,): which of the members with this option of unit 0 keep it.
        rows = [np.broadcast_to(c[min(first, len(c) - 1)], shape[1:]).reshape(-1) for c in columns]
        seen = columns_of(kind, np.stack(rows, axis=1), None if logs is None else logs[first])
        y, deviations = model.predict(seen), model.deviate(seen)  # (b * c * d,), (..., fits)
        predicted[first] = y.reshape(shape[1:])
        spread[first] = deviations.std(-1).reshape(shape[1:])
        _add_option(sums, first, (y[:, None] + deviations).reshape(*shape[1:], -1))
    marginals = tuple(total / (len(space) / len(total)) for total in sums)
    return SpaceScores(predicted.reshape(-1), spread.reshape(-1), marginals)
