"""What the published method's family reads off the ranker: norms of embeddings.

Rules score options, in place, over all backgrounds. They are z-scored within a unit: they order the
options of one unit and say nothing about how much the unit matters. What options and blocks change
in the prediction is in `scoring`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats as scipy_stats

from sdsearch.design import EmbeddingNorms, FeatureNorm
from sdsearch.ranker.features import CATEGORICAL, encode_all
from sdsearch.ranker.net import PlanTensors
from sdsearch.ranker.plan import plan_batch, plan_space
from sdsearch.unet import SLOTS, UNIT_NAMES, UNPRUNED, Half

if TYPE_CHECKING:
    from sdsearch.design import NormRule
    from sdsearch.ranker.fit import FittedRanker
    from sdsearch.ranker.training import FittedNet
    from sdsearch.space import SearchSpace

Floats = npt.NDArray[np.float64]

LAST_HOPS: dict[Half, int] = {"enc": 2, "mid": 0, "dec": 3}
"""At which hop the output of each half is read by the rule `last`."""


def slot_norms(net: FittedNet, space: SearchSpace) -> list[Floats]:
    """Per unit (hops + 1, slots, options, members): L1 norms, their mean over all backgrounds."""
    hops, members = net.hops, len(net.centre)
    found = [np.zeros((hops + 1, len(SLOTS), len(u.options), members)) for u in space.units]
    for digits, part in space.width_parts:  # digits: per unit the part's option numbers
        with torch.inference_mode():
            plan = plan_space(part, net.layout, hops)
            embedded = net.ranker.embed(PlanTensors.of(plan, batch=False))
        for hop, x in enumerate(embedded):
            norms = x.sum(-1).double().numpy()  # (items, members); L1, as nothing is negative
            for slot, items in enumerate(plan.items[hop]):
                table = norms[items]  # (a, b, c, d, members), 1 along units it does not see
                for axis, (total, numbers) in enumerate(zip(found, digits, strict=True)):
                    others = tuple(i for i in range(len(found)) if i != axis)
                    # Parts differ in size: sum over a part's backgrounds, divide at the end.
                    backgrounds = len(part) / len(numbers)
                    total[hop, slot, numbers] += table.mean(axis=others) * backgrounds
    for total in found:
        total /= len(space) / total.shape[2]  # members of the space that share an option
    return found


def rule_scores(rule: NormRule, norms: Floats, unit: str, weights: Floats) -> Floats:
    """(options, members) scores of a unit's options by one rule.

    `graph`: norms of the whole graph at hops 1..M. `module`: those of the unit's own slots at hops
    0..M. `last`: those of the unit's output slots alone, as published. `norms` are the unit's of
    `slot_norms`, `weights` those of hops 0..M.
    """
    if rule == "graph":
        return _weighted(norms[1:].sum(1), weights[1:] / weights[1:].sum())
    if rule == "module":
        own = [number for number, slot in enumerate(SLOTS) if slot.unit == unit]
        return _weighted(norms[:, own].sum(1), weights)
    top = len(norms) - 1
    read = np.stack([norms[min(hop, top), slot] for slot, hop in output_slots(unit)])
    return _weighted(read, np.full(len(read), 1.0 / len(read)))


def output_slots(unit: str) -> list[tuple[int, int]]:
    """The last slot of each half of a unit, and the hop at which it is read."""
    level = UNIT_NAMES.index(unit)
    found = {}
    for number, slot in enumerate(SLOTS):
        if slot.half in LAST_HOPS and slot.level == level and slot.unit in (unit, None):
            found[slot.half] = number
    return [(number, LAST_HOPS[half]) for half, number in found.items()]


def hop_weights(fitted: FittedRanker) -> Floats:
    """Out-of-fold SRCC of hops 0..M, negatives as 0, summing to 1; equal if hops 1..M have none."""
    srcc = np.array([max(hop.srcc, 0.0) for hop in fitted.report.hops])
    return srcc / srcc.sum() if srcc[1:].sum() > 0 else np.full(len(srcc), 1.0 / len(srcc))


def read_norms(net: FittedNet, space: SearchSpace, weights: Floats) -> EmbeddingNorms:
    """Norms of feature values and of the unpruned net's slots; `weights` are those of hops."""
    return EmbeddingNorms(
        hop_weights=tuple(weights),
        features=_feature_norms(net, space),
        slots=_unpruned_norms(net, space, weights),
    )


def _unpruned_norms(net: FittedNet, space: SearchSpace, weights: Floats) -> dict[str, float]:
    """What each slot adds to the graph norm of the unpruned net, hops 0..M weighted."""
    teacher = encode_all([UNPRUNED], space.backbone, net.layout)
    plan = plan_batch(teacher, net.hops)
    with torch.inference_mode():
        embedded = net.ranker.embed(PlanTensors.of(plan))
    norms = [x.sum(-1).mean(1).double().numpy() / len(SLOTS) for x in embedded]  # (items,) a hop
    return {
        slot.name: float(
            sum(
                weight * norm[items[number][0]]
                for weight, norm, items in zip(weights, norms, plan.items, strict=True)
            )
        )
        for number, slot in enumerate(SLOTS)
    }


def _feature_norms(net: FittedNet, space: SearchSpace) -> tuple[FeatureNorm, ...]:
    """Hop-0 scalars of every value that occurs; continuous features at their extremes."""
    found = [plan_space(part, net.layout, 0).features for _, part in space.width_parts]
    categorical = np.concatenate([features.categorical for features in found])
    continuous = np.concatenate([features.continuous for features in found])
    table, rows = net.ranker.features, []
    with torch.inference_mode():
        for column, name in enumerate(CATEGORICAL):
            words = net.layout.vocabularies[name]
            rows += [
                (name, words[value], table.tables[column][int(value)].abs())
                for value in np.unique(categorical[:, column])
            ]
        for column, name in enumerate(net.layout.continuous):
            values = continuous[:, column]
            for value in sorted({float(values.min()), float(values.max())}):
                scalar = (table.weight[column] * value + table.bias[column]).abs()
                rows.append((name, f"{value:.3g}", scalar))
    return tuple(
        FeatureNorm(
            category=name,
            value=value,
            norm=float(scalar.mean()),
            spread=float(scalar.std(correction=0)),
        )
        for name, value, scalar in rows
    )


def stability(scores: Floats) -> float:
    """How alike ensemble members order options: mean SRCC of pairs; 1 for a single member.

    A member that orders nothing agrees with none.
    """
    members = scores.shape[1]
    if members < 2:
        return 1.0
    ranks = scipy_stats.rankdata(scores, axis=0)
    orders = np.ptp(ranks, axis=0) > 0
    found = np.zeros((members, members))
    found[np.ix_(orders, orders)] = np.corrcoef(ranks.T[orders])
    return float(found[np.triu_indices(members, 1)].mean())


def _weighted(norms: Floats, weights: Floats) -> Floats:
    """(k, options, members) -> (options, members): weighted sum of z-scores within the unit."""
    total: Floats = np.tensordot(weights, np.stack([_standardised(x) for x in norms]), axes=1)
    return total


def _standardised(x: Floats) -> Floats:
    """(options, members) with mean 0 and deviation 1 over options; constants become 0."""
    deviation = x.std(0)
    found: Floats = (x - x.mean(0)) / np.where(deviation > 1e-12, deviation, 1.0)
    return found
