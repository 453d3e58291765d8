"""A slice of the kill campaign: a study that is hit ends as one that was left alone."""

from __future__ import annotations

import random

import pytest

from benchmarks.kill_campaign import STAGES, WAYS, main, plan_hits


def test_every_stage_is_to_be_hit_twice_in_the_order_of_stages() -> None:
    hits = plan_hits(random.Random(1), 2 * len(STAGES))
    assert [hit.stage for hit in hits] == sorted(STAGES * 2, key=STAGES.index)
    assert {hit.way for hit in hits} <= set(WAYS)


@pytest.mark.slow
def test_a_study_that_is_hit_ends_equal_and_blames_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(seed=3, hits=2) == 0
    said = capsys.readouterr().out
    assert "0 differ" in said
    assert "blamed: 0" in said
