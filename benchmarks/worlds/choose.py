"""The designs that every method of the comparison builds from one draw of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sdsearch.design import find_allowed, score_by_probe
from sdsearch.design.scores import best_of
from sdsearch.model import FrozenModel
from sdsearch.space import Budget, add_up
from sdsearch.study import load_meter
from sdsearch.unet import Architecture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.design import PredictorKind, Probe
    from sdsearch.labels import Label
    from sdsearch.ranker import FittedRanker
    from sdsearch.space import Meter
    from sdsearch.study import StudyFolder

    Floats = NDArray[np.floating]

Compared = Literal["autobuild", "exhaustive", "ridge-probe", "default", "one-shot", "most-macs"]
METHODS: tuple[Compared, ...] = get_args(Compared)
LEARNING: tuple[Compared, ...] = ("autobuild", "exhaustive", "ridge-probe", "default")
"""The methods whose designs depend on the draw."""
TOP = 4


class Chosen(FrozenModel):
    """One design: of which world, budget, method and draw, and the architecture itself."""

    world: str
    budget: str
    method: Compared
    draw: int
    rank: int
    arch_key: str
    architecture: Architecture


def choose_designs(
    world: str,
    study: StudyFolder,
    budgets: dict[str, float],
    draw: int,
    labels: Sequence[Label],
    probe: Probe,
) -> list[Chosen]:
    """The best `TOP` of each method within each share of the teacher's multiply-accumulates.

    `autobuild` adds up what each unit's options change in the prediction of the GNN that knows the
    probe; `exhaustive` takes the best predictions of the GNN that does not; `ridge-probe` those of
    ridge with the probe; `default` adds up the effects of whichever predictor `sdsearch fit` picks.
    One fit serves all of them, seeded by the draw.
    """
    import torch

    torch.set_num_threads(1)
    meter = load_meter(study)
    fitted = fit_draw(study, labels, draw, probe)
    orders = order_members(fitted, meter, probe)
    found = []
    for name, share in budgets.items():
        limits = meter.limits(Budget.model_validate({"macs": {"share": share}}))
        within = np.flatnonzero(find_allowed(meter, limits, TOP))
        for method in METHODS if draw == 0 else LEARNING:
            best = best_of(orders[method][within], TOP, within)
            for rank, index in enumerate(best[:TOP], start=1):
                arch = meter.space.arch(int(index))
                found.append(
                    Chosen(
                        world=world,
                        budget=name,
                        method=method,
                        draw=draw,
                        rank=rank,
                        arch_key=arch.key,
                        architecture=arch,
                    )
                )
    return found


def fit_draw(study: StudyFolder, labels: Sequence[Label], draw: int, probe: Probe) -> FittedRanker:
    """All predictors, as `sdsearch fit` fits them on these labels."""
    from sdsearch.ranker import RankerConfig, fit_ranker

    target = study.config.ranker.target
    return fit_ranker(
        load_meter(study).space,
        [label.architecture for label in labels],
        [None if label.failure else target.evaluate(label) for label in labels],
        RankerConfig(),
        np.random.default_rng(draw),
        [target.standard_error(label) for label in labels],
        probe,
    )


def order_members(fitted: FittedRanker, meter: Meter, probe: Probe) -> dict[Compared, Floats]:
    """(members,) by method what it orders the whole space by, higher is better."""
    from sdsearch.ranker import score_space

    space = meter.space
    kinds: set[PredictorKind] = {"gnn", "gnn-probe", "ridge-probe", fitted.kind}
    scored = {kind: score_space(fitted, space, kind) for kind in kinds}
    return {
        "autobuild": add_up([one.mean(1) for one in scored["gnn-probe"].marginals]),
        "exhaustive": scored["gnn"].predicted,
        "ridge-probe": scored["ridge-probe"].predicted,
        "default": add_up([one.mean(1) for one in scored[fitted.kind].marginals]),
        "one-shot": score_by_probe(probe.option_errors(space)).predicted,
        "most-macs": meter.whole("macs"),
    }
