from __future__ import annotations

import numpy as np
import pytest

from sdsearch.errors import InputError
from sdsearch.ranker.features import (
    CATEGORICAL,
    CONTINUOUS,
    FeatureLayout,
    encode,
    encode_all,
    to_data,
)
from sdsearch.ranker.plan import plan_batch, plan_space
from sdsearch.space.space import SearchSpace, search_space
from sdsearch.unet.backbone import SD14
from sdsearch.unet.graph import EDGES, build_graph
from sdsearch.unet.slots import SLOTS


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return search_space("tiny")


@pytest.fixture(scope="module")
def layout(space: SearchSpace) -> FeatureLayout:
    return FeatureLayout.for_space(space)


def test_every_slot_has_ten_named_features_within_their_vocabularies(
    space: SearchSpace, layout: FeatureLayout
) -> None:
    features = encode_all(space.sample(20, np.random.default_rng(0)), space.backbone, layout)
    assert features.categorical.shape == (20, 46, len(CATEGORICAL))
    assert features.continuous.shape == (20, 46, len(CONTINUOUS))
    assert (features.categorical >= 0).all()
    assert (features.categorical.max((0, 1)) < layout.sizes).all()
    assert features.continuous.min() >= 0.0
    assert features.continuous.max() <= 2.0


def test_joint_feature_names_slot_and_state(space: SearchSpace, layout: FeatureLayout) -> None:
    arch = space.members["bk-tiny"]
    ids = encode(build_graph(arch, space.backbone), layout).categorical[:, 4]
    words = [layout.vocabularies["joint"][i] for i in ids]
    at = {slot.name: word for slot, word in zip(SLOTS, words, strict=True)}
    assert at["down.0.attn.0"] == "down.0.attn.0=attn"
    assert at["mid.attn.0"] == "mid.attn.0=removed"


def test_cost_shares_are_of_the_teacher_and_local(layout: FeatureLayout) -> None:
    space = search_space("tiny")
    teacher, small = space.members["teacher"], space.members["bk-tiny"]
    encoded = encode_all([teacher, small], space.backbone, layout).continuous
    kept = [i for i, slot in enumerate(SLOTS) if slot.name == "down.0.res.0"]
    np.testing.assert_array_equal(encoded[0, kept], encoded[1, kept])


def test_layout_round_trips_through_json_and_differs_between_backbones(
    layout: FeatureLayout,
) -> None:
    assert FeatureLayout.model_validate_json(layout.model_dump_json()) == layout
    assert FeatureLayout.for_space(search_space("sd14")) != layout
    assert FeatureLayout.for_space(search_space("tiny", SD14)).teacher_channels == 1280


def test_pyg_graph_has_typed_edges_and_named_columns(
    space: SearchSpace, layout: FeatureLayout
) -> None:
    data = to_data(build_graph(space.members["bk-small"], space.backbone), layout)
    assert data.x.shape == (46, 10)
    assert data.columns == layout.columns
    assert data.edge_index.shape == (2, len(EDGES) + 46)
    assert data.edge_attr.sum(0).tolist() == [45.0, 12.0, 46.0]
    assert bool((data.edge_attr.sum(1) == 1).all())
    data.validate(raise_on_error=True)


def test_a_plan_lists_every_distinct_computation_once(
    space: SearchSpace, layout: FeatureLayout
) -> None:
    archs = space.sample(12, np.random.default_rng(1))
    plan = plan_batch(encode_all([*archs, archs[0]], space.backbone, layout), hops=3)
    for hop, sources in enumerate(plan.sources):
        assert sources.max() < plan.sizes[hop]
        used = {int(i) for items in plan.items[hop + 1] for i in items}
        assert used == set(range(plan.sizes[hop + 1]))
    for items in plan.items[-1]:
        assert items[0] == items[-1]


def test_plan_sources_follow_the_edges(space: SearchSpace, layout: FeatureLayout) -> None:
    archs = space.sample(5, np.random.default_rng(2))
    plan = plan_batch(encode_all(archs, space.backbone, layout), hops=2)
    for edge in EDGES:
        column = ["main", "skip"].index(edge.kind)
        for hop in (0, 1):
            read = plan.sources[hop][plan.items[hop + 1][edge.target], column]
            np.testing.assert_array_equal(read, plan.items[hop][edge.source])


def test_the_plan_of_the_space_agrees_with_the_plan_of_its_members(
    space: SearchSpace, layout: FeatureLayout
) -> None:
    whole = plan_space(space, layout, hops=4)
    assert whole.sizes[-1] < 5000
    numbers = np.random.default_rng(3).choice(len(space), 30, replace=False)
    part = plan_batch(
        encode_all([space.arch(int(i)) for i in numbers], space.backbone, layout), hops=4
    )
    digits = tuple(space.digits(numbers).T)
    for hop in range(5):
        for slot in range(len(SLOTS)):
            there = np.broadcast_to(whole.items[hop][slot], space.radices)[digits]
            here = part.items[hop][slot]
            # The same members share: a one-to-one map between both numberings.
            assert len(set(zip(there, here, strict=True))) == len(set(there)) == len(set(here))


def test_a_space_with_widths_cannot_be_planned_as_a_whole() -> None:
    space = search_space("sd14-wide")
    with pytest.raises(InputError, match="one width"):
        plan_space(space, FeatureLayout.for_space(space), hops=1)
