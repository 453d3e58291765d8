from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.errors import InputError
from sdsearch.space.latency import (
    LatencyConditions,
    LatencySurvey,
    count_blocks,
    design_survey,
    fit_latency_table,
    read_latency_table,
    read_survey,
    space_latencies,
)
from sdsearch.space.space import search_space
from sdsearch.unet.backbone import TINY
from sdsearch.unet.cost import slot_costs
from sdsearch.unet.slots import SLOTS
from tests.unets import TEACHER, hard_members, random_members, random_wide_members

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.unet.architecture import Architecture

SPACE = search_space("tiny")
CONDITIONS = LatencyConditions(latent=(16, 16), rounds=2, runs=3)
PLANTED = {"conv_in": 0.3, "res": 1.0, "attn": 2.0, "sample": 0.25, "conv_out": 0.3}


def planted_ms(arch: Architecture) -> float:
    """An additive truth: 2 ms, a time per kept block that falls with its level, 0.4 per ghost."""
    total = 2.0
    for slot in SLOTS:
        if slot.name in arch.kept_slots:
            total += PLANTED[slot.kind] / (1 + slot.level)
        elif slot.name in arch.ghost_slots:
            total += 0.4
    return total


def filled(survey: LatencySurvey, noise: float = 0.0) -> LatencySurvey:
    rng = np.random.default_rng(5)
    members = [
        member.model_copy(
            update={
                "milliseconds": tuple(
                    tuple(planted_ms(member.architecture) * np.exp(noise * rng.normal(size=3)))
                    for _ in range(2)
                )
            }
        )
        for member in survey.members
    ]
    return survey.model_copy(update={"members": tuple(members)})


def planted_survey(members: int = 64, noise: float = 0.0) -> LatencySurvey:
    return filled(design_survey(SPACE, members, CONDITIONS, np.random.default_rng(0)), noise)


def test_the_survey_has_the_named_members_and_every_option() -> None:
    survey = design_survey(SPACE, 48, CONDITIONS, np.random.default_rng(0))
    members = [member.architecture for member in survey.members]
    assert members[:4] == list(SPACE.members.values())
    assert len(set(members)) == len(members) == 48
    digits = np.array([SPACE.option_indices(arch) for arch in members])
    assert len(set(digits[:, 3])) == 11
    assert min(len(set(digits[:, axis])) for axis in range(3)) >= 38


def test_an_additive_truth_is_recovered_and_predicts_other_members() -> None:
    table = fit_latency_table(planted_survey())
    for arch in random_members(50, seed=41, space="tiny"):
        assert table.predict(arch) == pytest.approx(planted_ms(arch), rel=1e-6)
    assert table.error.mape < 1e-6


def test_the_error_is_that_of_held_out_members() -> None:
    survey = planted_survey(noise=0.1)
    table = fit_latency_table(survey, seed=3)
    medians = np.array([member.median for member in survey.members])
    fitted = np.array([table.predict(m.architecture) for m in survey.members])
    within = 100 * np.abs(fitted / medians - 1).mean()
    fresh = random_members(300, seed=42, space="tiny")
    truth = np.array([planted_ms(arch) for arch in fresh])
    outside = 100 * np.abs(np.array([table.predict(arch) for arch in fresh]) / truth - 1).mean()
    # Held-out labels are noisy too (median of 6: 5 %), so the estimate lies above the true error.
    assert within < table.error.mape
    assert outside < table.error.mape < outside + 6
    assert table.error.n == 64
    assert table.error.worst > table.error.mape


def test_the_whole_space_agrees_with_single_members() -> None:
    table = fit_latency_table(planted_survey(noise=0.05))
    found = space_latencies(table, SPACE)
    assert found.shape == (len(SPACE),)
    for index in np.random.default_rng(6).choice(len(SPACE), size=30, replace=False):
        assert found[index] == pytest.approx(table.predict(SPACE.arch(int(index))))


def test_blocks_of_one_name_cost_the_same_and_cover_every_slot() -> None:
    for arch in [*hard_members(), *random_members(20, seed=43), *random_wide_members(10, seed=44)]:
        blocks = count_blocks(arch, TINY, (16, 16))
        present = arch.kept_slots | arch.ghost_slots
        assert sum(blocks.values()) == len(present) - 2 + 1  # first and last convolution: "fixed"
    costs = dict(zip(SLOTS, slot_costs(TEACHER, TINY), strict=True))
    attention = {c.macs for slot, c in costs.items() if slot.kind == "attn" and slot.level == 1}
    assert len(attention) == 1


def test_a_member_with_an_unseen_block_is_refused_by_its_name() -> None:
    table = fit_latency_table(planted_survey())
    with pytest.raises(InputError, match="no member had"):
        table.predict(random_wide_members(3, seed=45)[1])
    with pytest.raises(InputError, match="same widths"):
        space_latencies(table, search_space("sd14-wide", TINY))


def test_files_lead_back_to_what_was_written(tmp_path: Path) -> None:
    survey = planted_survey(noise=0.02)
    table = fit_latency_table(survey)
    (tmp_path / "survey.json").write_text(survey.model_dump_json())
    (tmp_path / "table.json").write_text(table.model_dump_json())
    assert read_survey(tmp_path / "survey.json") == survey
    assert read_latency_table(tmp_path / "table.json") == table


@pytest.mark.parametrize("content", [None, "{", "{}", '{"milliseconds": {}}'])
def test_what_is_no_table_is_refused(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "table.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"table\.json"):
        read_latency_table(file)


def test_too_few_or_unmeasured_members_are_refused() -> None:
    with pytest.raises(InputError, match="at least 20"):
        design_survey(SPACE, 19, CONDITIONS, np.random.default_rng(0))
    with pytest.raises(InputError, match="must be measured"):
        fit_latency_table(design_survey(SPACE, 20, CONDITIONS, np.random.default_rng(0)))


def test_median_and_spread_are_over_all_rounds() -> None:
    member = (
        planted_survey()
        .members[0]
        .model_copy(update={"milliseconds": ((1.0, 2.0, 3.0), (4.0, 5.0, 100.0))})
    )
    assert member.median == 3.5
    assert member.iqr == pytest.approx(2.5)
