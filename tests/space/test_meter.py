from __future__ import annotations

import pytest

from sdsearch.errors import InputError
from sdsearch.space.budget import RESOURCES, Budget
from sdsearch.space.latency import fit_latency_table
from sdsearch.space.meter import Meter
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.cost import count_macs, count_params, unet_cost
from tests.space.test_costs import some_members
from tests.space.test_latency import planted_survey

SPACE = search_space("tiny")
TABLE = fit_latency_table(planted_survey())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_resource_of_the_whole_space_is_what_a_single_member_costs(dtype: str) -> None:
    meter = Meter(SPACE, dtype, TABLE)  # type: ignore[arg-type]
    whole = {name: meter.whole(name) for name in RESOURCES}
    for index in some_members(SPACE, 100):
        costs = meter.member(SPACE.arch(index))
        assert tuple(costs) == RESOURCES
        for name, cost in costs.items():
            assert whole[name][index] == pytest.approx(cost, rel=1e-12 if "ms" in name else 0)


def test_memory_is_the_weights_and_the_peak_of_activations_in_the_protocols_precision() -> None:
    space = search_space("sd14")
    teacher = {
        dtype: Meter(space, dtype).member(UNPRUNED)["memory_bytes"]  # type: ignore[arg-type]
        for dtype in ("float32", "float16", "bfloat16")
    }
    call = unet_cost(UNPRUNED, space.backbone)
    assert teacher["float32"] == 4 * 859_520_964 + call.activation_bytes
    assert teacher["float16"] == teacher["bfloat16"] == teacher["float32"] / 2


def test_costs_that_need_no_precision_are_the_same_in_all() -> None:
    arch = SPACE.members["bk-small"]
    for dtype in ("float32", "float16"):
        costs = Meter(SPACE, dtype).member(arch)  # type: ignore[arg-type]
        assert costs["params"] == count_params(arch, SPACE.backbone)
        assert costs["macs"] == count_macs(arch, SPACE.backbone).total
        assert "latency_ms" not in costs


def test_shares_of_a_budget_are_taken_of_the_teachers_own_costs() -> None:
    budget = Budget.model_validate(
        {"memory_bytes": {"share": 0.5}, "file_bytes": 9_000_000, "params": {"share": 0.25}}
    )
    meter = Meter(SPACE, "float16")
    teacher = meter.member(UNPRUNED)
    assert meter.limits(budget) == {
        "memory_bytes": 0.5 * teacher["memory_bytes"],
        "file_bytes": 9e6,
        "params": 0.25 * teacher["params"],
    }


def test_latency_needs_a_table() -> None:
    with pytest.raises(InputError, match="latency_table"):
        Meter(SPACE).limits(Budget(latency_ms=3.0))
    with pytest.raises(ValueError, match="table"):
        Meter(SPACE).whole("latency_ms")
