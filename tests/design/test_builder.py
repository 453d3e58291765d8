from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from sdsearch.design.builder import build_designs, find_allowed, pareto_front
from sdsearch.design.designs import DesignFile, Method
from sdsearch.design.probe import score_by_probe
from sdsearch.design.scores import OptionScore, Scores, SpaceScores, UnitScores
from sdsearch.errors import InputError
from sdsearch.space.budget import RESOURCES, Budget, Resource
from sdsearch.space.costs import add_up, space_macs, space_params
from sdsearch.space.latency import fit_latency_table
from sdsearch.space.loaders import space_loads
from sdsearch.space.meter import Meter
from sdsearch.space.space import SearchSpace, search_space
from sdsearch.unet.cost import count_macs, count_params
from tests.planted import planted_probe
from tests.space.test_latency import planted_survey

METHODS = ("autobuild", "exhaustive", "random", "ridge", "one-shot", "most-macs", "most-params")


def made_up(space: SearchSpace, seed: int = 0) -> tuple[Scores, SpaceScores, SpaceScores]:
    """Random unit scores; the prediction is their sum with a little noise."""
    rng = np.random.default_rng(seed)
    units = tuple(
        UnitScores(
            unit=unit.name,
            stability=1.0,
            options=tuple(
                OptionScore(
                    option=i,
                    words=str(o),
                    score=value,
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
        rule="partial-dependence",
        mean=0.0,
        blocks=(),
        units=units,
    )
    sums = add_up(scores.values())
    predicted = (sums + 0.1 * rng.normal(size=len(space))).astype(np.float32)
    spread = np.full(len(space), 0.2, np.float32)
    ridge = SpaceScores(-predicted, spread, ())
    return scores, SpaceScores(predicted, spread, ()), ridge


SPACE = search_space("tiny")
SCORES, SCORED, RIDGE = made_up(SPACE)
ONE_SHOT = score_by_probe(planted_probe(SPACE).option_errors(SPACE))
BLOCKS = search_space("sd14-blocks", SPACE.backbone)
TABLE = fit_latency_table(planted_survey())


def build(budget: Budget, methods: tuple[str, ...] = METHODS, seed: int = 0, top: int = 4) -> list:
    return build_designs(
        Meter(SPACE),
        methods,
        budget,
        SCORES,
        SCORED,
        np.random.default_rng(seed),
        top=top,
        baselines={"ridge": RIDGE, "one-shot": ONE_SHOT},
    )


def test_a_method_that_is_named_again_finds_its_next_designs_under_names_of_their_own():
    found = build(Budget(), ("autobuild", "random", "autobuild"), top=2)
    assert [design.name for design in found if design.method == "autobuild"] == [
        f"autobuild-{rank}" for rank in (1, 2, 3, 4)
    ]
    assert found[:4] == build(Budget(), ("autobuild",), top=4)
    assert len({design.name for design in found}) == len(found) == 6


def test_sums_follow_the_order_of_the_space() -> None:
    sums = add_up(SCORES.values())
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
    assert len(designs) == 4 * len(METHODS)
    for design in designs:
        assert design.arch_key == design.architecture.key
        assert design.params == count_params(design.architecture, SPACE.backbone)
        assert design.macs == count_macs(design.architecture, SPACE.backbone, 16).total
        assert len(design.reasons) == 4 + 1 + 4
        assert design.reasons[1].startswith("level1: ")
        assert " of 40 by effect: " in design.reasons[1]


def test_without_a_budget_the_methods_find_their_own_best() -> None:
    designs = build(Budget())
    by_method = {
        m: [SPACE.index(d.architecture) for d in designs if d.method == m] for m in METHODS
    }
    assert by_method["exhaustive"] == SCORED.top(4)
    assert by_method["ridge"] == RIDGE.top(4)
    assert by_method["autobuild"] == np.argsort(-add_up(SCORES.values()))[:4].tolist()


def test_without_a_budget_autobuild_takes_from_the_best_options_of_each_unit() -> None:
    best = [{one.option for one in SCORES.top_k(unit.name, 4)} for unit in SPACE.units]
    designs = build(Budget(), ("autobuild",))
    assert len(designs) == 4
    for design in designs:
        digits = SPACE.option_indices(design.architecture)
        assert all(digit in options for digit, options in zip(digits, best, strict=True))


@pytest.mark.parametrize("resource", ["params", "macs"])
def test_a_budget_holds_for_every_method_and_is_solved_exactly(resource: str) -> None:
    budget = Budget.model_validate({resource: {"share": 0.6}})
    costs = {"params": space_params, "macs": space_macs}[resource](SPACE)
    limit = 0.6 * costs[SPACE.index(SPACE.members["teacher"])]
    designs = build(budget)
    assert len(designs) == 4 * len(METHODS)
    assert all(getattr(design, resource) <= limit for design in designs)
    best = np.sort(add_up(SCORES.values())[costs <= limit])[::-1][:4]
    np.testing.assert_allclose([d.score for d in designs if d.method == "autobuild"], best)
    assert any(f"{resource} " in reason and "limit" in reason for reason in designs[0].reasons)
    absolute = Budget.model_validate({resource: limit})
    assert [d.arch_key for d in build(absolute)] == [d.arch_key for d in designs]


@pytest.mark.parametrize(
    "method", ["autobuild", "exhaustive", "ridge", "one-shot", "most-macs", "most-params"]
)
@pytest.mark.parametrize("seed", range(5))
def test_the_top_10_of_every_exact_method_are_those_of_brute_force(method: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    meter = Meter(BLOCKS, table=TABLE)
    costs = {name: meter.whole(name) for name in RESOURCES}
    named = rng.permutation(sorted(costs))[: 1 + seed % 3]
    limits = {str(name): float(np.quantile(costs[name], rng.uniform(0.2, 0.9))) for name in named}
    scores, scored, ridge = made_up(BLOCKS)
    one_shot = score_by_probe(planted_probe(BLOCKS, seed).option_errors(BLOCKS))
    value = {
        "autobuild": add_up(scores.values()),
        "exhaustive": scored.predicted,
        "ridge": ridge.predicted,
        "one-shot": one_shot.predicted,
        "most-macs": meter.whole("macs"),
        "most-params": meter.whole("params"),
    }
    fits = np.all([costs[name] <= limit for name, limit in limits.items()], axis=0)  # type: ignore[index]
    brute = sorted(np.flatnonzero(fits), key=lambda index: -value[method][index])[:10]
    designs = build_designs(
        meter,
        [method],  # type: ignore[list-item]
        Budget.model_validate(limits),
        scores,
        scored,
        rng,
        top=10,
        baselines={"ridge": ridge, "one-shot": one_shot},
    )
    assert [BLOCKS.index(design.architecture) for design in designs] == brute


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))]
)
def test_limits_in_bytes_are_met_by_the_first_of_all_704000_that_meet_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    meter = Meter(search_space("sd14"), rng.choice(["float32", "float16"]))
    asked: tuple[Resource, ...] = ("memory_bytes", "file_bytes")
    asked = (asked[:1], asked[1:], asked)[seed % 3]
    limits = {name: float(np.quantile(meter.whole(name), rng.uniform(0.02, 0.8))) for name in asked}
    scores, scored, _ = made_up(meter.space, seed)
    best_first = np.argsort(-add_up(scores.values()))
    members = (meter.space.arch(int(index)) for index in best_first)
    fitting = (
        arch.key
        for arch in members  # looked up one by one
        if all(meter.member(arch)[name] <= limit for name, limit in limits.items())
    )
    designs = build_designs(
        meter, ["autobuild"], Budget.model_validate(limits), scores, scored, rng, top=10
    )
    assert [design.arch_key for design in designs] == list(islice(fitting, 10))
    for design in designs:
        costs = meter.member(design.architecture)
        assert (design.memory_bytes, design.file_bytes) == tuple(
            costs[name] for name in ("memory_bytes", "file_bytes")
        )


def test_a_budget_of_latency_needs_a_table_and_is_met() -> None:
    scores, scored, _ = made_up(BLOCKS)
    budget = Budget.model_validate({"latency_ms": {"share": 0.7}})
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="latency_table"):
        build_designs(Meter(BLOCKS), ["autobuild"], budget, scores, scored, rng)
    meter = Meter(BLOCKS, table=TABLE)
    designs = build_designs(meter, ["autobuild"], budget, scores, scored, rng)
    teacher = TABLE.predict(BLOCKS.members["teacher"])
    assert len(designs) == 4
    for design in designs:
        assert design.latency_ms is not None
        assert design.latency_ms <= 0.7 * teacher
        assert any(reason.startswith("latency_ms") for reason in design.reasons)


def test_designs_that_must_differ_do_and_the_best_comes_first() -> None:
    alike = build(Budget(), ("autobuild",))
    apart = build_designs(
        Meter(SPACE),
        ["autobuild", "random"],
        Budget(),
        SCORES,
        SCORED,
        np.random.default_rng(0),
        least_difference=5,
    )
    assert apart[0].arch_key == alike[0].arch_key
    for designs in (apart[:4], apart[4:]):
        for number, design in enumerate(designs):
            for other in designs[:number]:
                kept = design.architecture.kept_slots ^ other.architecture.kept_slots
                assert len(kept) >= 5
    with pytest.raises(InputError, match="least_difference"):
        build_designs(
            Meter(SPACE),
            ["autobuild"],
            Budget(),
            SCORES,
            SCORED,
            np.random.default_rng(0),
            least_difference=30,
        )


def test_designs_that_must_differ_are_the_first_that_do_however_far_down_they_are() -> None:
    least, taken, best_first = 18, [], np.argsort(-add_up(SCORES.values())).tolist()
    while len(taken) < 3:
        kept = SPACE.arch(best_first.pop(0)).kept_slots
        if all(len(kept ^ other) >= least for other in taken):
            taken.append(kept)
    rng = np.random.default_rng(0)
    designs = build_designs(
        Meter(SPACE), ["autobuild"], Budget(), SCORES, SCORED, rng, top=3, least_difference=least
    )
    assert len(SPACE) - len(best_first) > 6000
    assert [design.architecture.kept_slots for design in designs] == taken


def test_evolution_beats_random_and_keeps_to_its_options() -> None:
    budget = Budget.model_validate({"params": {"share": 0.6}})
    designs = build(budget, ("evolution", "evolution-reduced", "random", "exhaustive"))
    mean = {
        method: np.mean([d.predicted.target for d in designs if d.method == method])
        for method in ("evolution", "evolution-reduced", "random", "exhaustive")
    }
    assert mean["random"] < mean["evolution"] <= mean["exhaustive"]
    assert mean["random"] < mean["evolution-reduced"] <= mean["exhaustive"]
    limit = 0.6 * count_params(SPACE.members["teacher"], SPACE.backbone)
    assert all(design.params <= limit for design in designs)


def test_the_front_is_what_nothing_cheaper_beats() -> None:
    rng = np.random.default_rng(1)
    value, cost = rng.integers(0, 30, 200).astype(float), rng.integers(0, 30, 200).astype(float)
    front = pareto_front(value, cost)
    for index in range(200):
        beaten = (cost <= cost[index]) & (value >= value[index])
        strictly = beaten & ((cost < cost[index]) | (value > value[index]))
        same = {(cost[i], value[i]) for i in front}
        assert ((cost[index], value[index]) in same) == (not strictly.any())
    assert (np.diff(cost[front]) > 0).all()
    assert (np.diff(value[front]) > 0).all()


def test_pareto_designs_lie_on_the_front_best_first_and_smaller_ones_after() -> None:
    designs = build(Budget(), ("pareto",))
    sums, params = add_up(SCORES.values()), space_params(SPACE)
    front = set(pareto_front(sums, params.astype(float)).tolist())
    assert all(SPACE.index(design.architecture) in front for design in designs)
    assert [d.params for d in designs] == sorted((d.params for d in designs), reverse=True)
    assert designs[0].score == pytest.approx(sums.max())


def test_random_is_uniform_within_the_budget_and_repeats_with_its_seed() -> None:
    budget = Budget.model_validate({"params": {"share": 0.5}})
    first, again, other = (build(budget, ("random",), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len({design.arch_key for design in first}) == 4


def test_a_budget_that_admits_too_few_says_the_smallest_cost() -> None:
    with pytest.raises(InputError, match=r"smallest member: [\d,]+"):
        build(Budget(params=1000.0))


EVERY: tuple[Method, ...] = (*METHODS, "pareto", "evolution", "evolution-reduced")


def test_every_method_builds_only_what_loads_where_it_has_to() -> None:
    budget = Budget.model_validate({"params": {"share": 0.7}})
    meter = Meter(SPACE, loads_in=("from_single_file",))
    rng = np.random.default_rng(0)
    baselines: dict[Method, SpaceScores] = {"ridge": RIDGE, "one-shot": ONE_SHOT}
    found = build_designs(meter, EVERY, budget, SCORES, SCORED, rng, top=2, baselines=baselines)
    assert {design.method for design in found} == set(EVERY)
    assert all(meter.why_not_loaded(design.architecture) is None for design in found)
    assert all("that load in from_single_file" in " ".join(one.reasons) for one in found)
    allowed = space_loads(SPACE, "from_single_file")
    params = space_params(SPACE)
    allowed &= params <= 0.7 * params[SPACE.index(SPACE.members["teacher"])]
    (best,) = np.flatnonzero(SCORED.predicted == SCORED.predicted[allowed].max())
    first = next(design for design in found if design.method == "exhaustive")
    assert SPACE.index(first.architecture) == best


def test_what_loads_nowhere_is_refused_with_the_reason() -> None:
    with pytest.raises(InputError, match="0 of tiny do: ComfyUI knows cross_attention_dim 768"):
        find_allowed(Meter(SPACE, loads_in=("comfyui",)), {}, 4)


def test_a_budget_too_small_for_what_loads_says_the_smallest_that_does() -> None:
    meter = Meter(SPACE, loads_in=("single-file",))
    smallest = space_params(SPACE)[space_loads(SPACE, "single-file")].min()
    with pytest.raises(InputError, match=f"load in single-file.*smallest member: {smallest:,}"):
        find_allowed(meter, {"params": 1000.0}, 1)
    assert smallest > space_params(SPACE).min()


@pytest.mark.parametrize("method", ["ridge", "ridge-probe", "one-shot", "autobuild-paper"])
def test_a_method_without_its_scores_is_refused(method: Method) -> None:
    with pytest.raises(InputError, match=f"method {method!r} needs the scores"):
        build_designs(Meter(SPACE), [method], Budget(), SCORES, SCORED, np.random.default_rng(0))


def test_the_published_method_takes_the_best_sums_of_its_own_scores() -> None:
    rng = np.random.default_rng(8)
    paper = [rng.normal(size=radix) for radix in SPACE.radices]
    budget = Budget.model_validate({"params": {"share": 0.6}})
    designs = build_designs(
        Meter(SPACE), ["autobuild-paper"], budget, SCORES, SCORED, rng, paper=paper
    )
    params = space_params(SPACE)
    sums = paper[0][:, None, None, None] + paper[1][:, None, None]
    sums = (sums + paper[2][:, None] + paper[3]).reshape(-1)
    sums[params > 0.6 * params[SPACE.index(SPACE.members["teacher"])]] = -np.inf
    assert [SPACE.index(one.architecture) for one in designs] == np.argsort(-sums)[:4].tolist()


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
