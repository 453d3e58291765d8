from __future__ import annotations

import numpy as np
import pytest

from sdsearch.builder import Budget, DesignFile, add_up, build_designs
from sdsearch.cost import count_macs, count_params, space_costs
from sdsearch.errors import InputError
from sdsearch.scores import OptionScore, Scores, SpaceScores, UnitScores
from sdsearch.space import SearchSpace, search_space

METHODS = ("autobuild", "exhaustive", "random", "ridge")


def made_up(space: SearchSpace) -> tuple[Scores, SpaceScores, SpaceScores]:
    """Random unit scores; the prediction is their sum with a little noise."""
    rng = np.random.default_rng(0)
    units = tuple(
        UnitScores(
            unit=unit.name,
            stability=1.0,
            options=tuple(
                OptionScore(
                    option=i,
                    words=str(o),
                    score=value,
                    graph=0.0,
                    module=0.0,
                    last=0.0,
                    effect=value,
                    spread=0.1,
                )
                for i, (o, value) in enumerate(
                    zip(unit.options, rng.normal(size=len(unit.options)), strict=True)
                )
            ),
        )
        for unit in space.units
    )
    scores = Scores(
        space=space.name,
        kind="gnn",
        rule="graph",
        hop_weights=(1.0,),
        mean=0.0,
        features=(),
        blocks=(),
        units=units,
    )
    sums = add_up(scores)
    predicted = (sums + 0.1 * rng.normal(size=len(space))).astype(np.float32)
    spread = np.full(len(space), 0.2, np.float32)
    ridge = SpaceScores(-predicted, spread, ())
    return scores, SpaceScores(predicted, spread, ()), ridge


SPACE = search_space("tiny")
SCORES, SCORED, RIDGE = made_up(SPACE)


def build(budget: Budget, methods: tuple[str, ...] = METHODS, seed: int = 0, top: int = 4) -> list:
    return build_designs(
        SPACE, methods, budget, SCORES, SCORED, np.random.default_rng(seed), top=top, ridge=RIDGE
    )


def test_sums_follow_the_order_of_the_space() -> None:
    sums = add_up(SCORES)
    for index in (0, 1, 12_345, len(SPACE) - 1):
        digits = SPACE.option_indices(SPACE.arch(index))
        want = sum(unit.options[d].score for unit, d in zip(SCORES.units, digits, strict=True))
        assert sums[index] == pytest.approx(want)


def test_every_method_builds_top_designs_with_exact_costs_and_reasons() -> None:
    designs = build(Budget())
    assert [design.name for design in designs[:5]] == [
        "autobuild-1",
        "autobuild-2",
        "autobuild-3",
        "autobuild-4",
        "exhaustive-1",
    ]
    assert len(designs) == 16
    for design in designs:
        assert design.arch_key == design.architecture.key
        assert design.params == count_params(design.architecture, SPACE.backbone)
        assert design.macs == count_macs(design.architecture, SPACE.backbone, 16).total
        assert len(design.reasons) == 4 + 3
        assert "level1" in design.reasons[1]


def test_without_a_budget_the_methods_find_their_own_best() -> None:
    designs = build(Budget())
    by_method = {
        m: [SPACE.index(d.architecture) for d in designs if d.method == m] for m in METHODS
    }
    assert by_method["exhaustive"] == SCORED.top(4)
    assert by_method["ridge"] == RIDGE.top(4)
    assert by_method["autobuild"] == np.argsort(-add_up(SCORES))[:4].tolist()


def test_without_a_budget_autobuild_takes_from_the_best_options_of_each_unit() -> None:
    best = [{one.option for one in SCORES.top_k(unit.name, 4)} for unit in SPACE.units]
    for design in build(Budget(), ("autobuild",)):
        digits = SPACE.option_indices(design.architecture)
        assert all(digit in options for digit, options in zip(digits, best, strict=True))


@pytest.mark.parametrize("resource", ["params", "macs"])
def test_a_budget_holds_for_every_method_and_is_solved_exactly(resource: str) -> None:
    budget = Budget.model_validate({resource: {"share": 0.6}})
    costs = dict(zip(("params", "macs"), space_costs(SPACE), strict=True))[resource]
    limit = 0.6 * costs[SPACE.index(SPACE.members["teacher"])]
    designs = build(budget)
    assert len(designs) == 16
    assert all(getattr(design, resource) <= limit for design in designs)
    best = np.sort(add_up(SCORES)[costs <= limit])[::-1][:4]
    np.testing.assert_allclose([d.score for d in designs if d.method == "autobuild"], best)
    assert any(f"{resource} " in reason and "limit" in reason for reason in designs[0].reasons)
    absolute = Budget.model_validate({resource: limit})
    assert [d.arch_key for d in build(absolute)] == [d.arch_key for d in designs]


def test_random_is_uniform_within_the_budget_and_repeats_with_its_seed() -> None:
    budget = Budget.model_validate({"params": {"share": 0.5}})
    first, again, other = (build(budget, ("random",), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len({design.arch_key for design in first}) == 4


def test_a_budget_that_admits_too_few_says_the_smallest_cost() -> None:
    with pytest.raises(InputError, match=r"smallest member: [\d,]+"):
        build(Budget(params=1000.0))


def test_ridge_without_its_scores_is_refused() -> None:
    with pytest.raises(InputError, match="ridge"):
        build_designs(SPACE, ["ridge"], Budget(), SCORES, SCORED, np.random.default_rng(0))


def test_budgets_are_shares_or_positive_numbers() -> None:
    for wrong in ({"share": 1.5}, {"share": 0.0}, -3.0, 0.0):
        with pytest.raises(ValueError, match="params"):
            Budget.model_validate({"params": wrong})


def test_the_design_file_round_trips() -> None:
    file = DesignFile(
        protocol_key="0" * 12,
        target="-log(fd_efflite0)",
        budget=Budget.model_validate({"macs": {"share": 0.7}, "params": 2e6}),
        designs=tuple(build(Budget(), ("random",))),
    )
    text = file.model_dump_json()
    assert '"schema":1' in text
    assert DesignFile.model_validate_json(text) == file
