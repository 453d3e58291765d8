"""What a plan says that labels cost and bring: its own seconds, and numbers of a named source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdsearch.design import LabelWorth
from sdsearch.planning import Machine, Need, Peak, StudyPlan, describe_plan, offer_labels
from sdsearch.planning.offers import CURVE
from tests.fakes import make_study

if TYPE_CHECKING:
    from sdsearch.study import Stage

CURVE_FILE = Path(__file__).parents[2] / "benchmarks" / "learning_curves.jsonl"
NOTHING = Peak(phase="", parts={})
WORDS = Path(__file__).parents[2] / "assets" / "worlds" / "words-16"


def make_plan(**seconds: tuple[int, float | None]) -> StudyPlan:
    """A plan whose stages are done so many times in so many seconds."""
    stages: dict[Stage, tuple[int, float | None]] = {**seconds}  # type: ignore[dict-item]
    return StudyPlan(
        study="study",
        machine=Machine(
            device="a processor",
            kind="cpu",
            device_bytes=None,
            host_bytes=10**10,
            disk_bytes=10**10,
            threads=1,
        ),
        needs=tuple(
            Need(stage=stage, times=times, fits=True, device=None, host=NOTHING, seconds=said)
            for stage, (times, said) in stages.items()
        ),
        workspace=0,
        proposals=(),
    )


def test_the_numbers_are_those_of_the_committed_learning_curves() -> None:
    lines = [json.loads(line) for line in CURVE_FILE.read_text().splitlines()]
    for labels, point in CURVE.items():
        rows = [line["found"][point.method] for line in lines if line["labels"] == labels]
        srcc, picks = (
            sum(row[measure] for row in rows) / len(rows)
            for measure in ("SRCC, all", "<= 60% of the multiply-accumulates")
        )
        assert (point.srcc, point.designs) == (round(srcc, 3), round(picks, 1))


def test_labels_cost_what_the_plan_measured(tmp_path: Path) -> None:
    """Ten labels in 100 s: 10 s each, after 30 s that they share and a probe of 5 s."""
    plan = make_plan(probe=(67, 5.0), prepare=(1, 30.0), label=(10, 100.0))
    rows = offer_labels(make_study(tmp_path / "study"), plan).rows
    assert [(row.labels, row.seconds) for row in rows] == [
        (0, 5.0),
        (16, 195.0),
        (32, 355.0),
        (68, 715.0),
    ]
    assert [row.method for row in rows] == ["one-shot", *["gnn-probe"] * 3]


def test_what_was_not_timed_has_no_time_and_what_is_done_takes_none(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", '[ranker]\nkind = "one-shot"\n')
    untimed = offer_labels(study, make_plan(probe=(67, 5.0), label=(10, None)))
    assert [row.seconds for row in untimed.rows] == [5.0, None, None, None]
    designs_only = offer_labels(study, make_plan(measure=(4, 8.0)))
    assert [row.seconds for row in designs_only.rows] == [0.0, 32.0, 64.0, 136.0]


def test_tiny_numbers_are_called_tiny_and_said_to_be_of_another_teacher(tmp_path: Path) -> None:
    plan = make_plan(label=(1, 1.0))
    own = offer_labels(make_study(tmp_path / "own"), plan).source
    assert "the tiny teacher's own table: tiny numbers" in own
    toml = f"[teacher]\npipeline = {str(WORDS)!r}\n"
    other = offer_labels(make_study(tmp_path / "other", toml), plan).source
    assert "a tiny teacher, another than this study's: tiny numbers" in other


@pytest.mark.parametrize("seconds", [7.0, None])
def test_a_study_that_was_fitted_says_what_its_own_labels_are_worth(
    tmp_path: Path, seconds: float | None
) -> None:
    study = make_study(tmp_path / "study")
    worth = LabelWorth(
        labels=20,
        half=10,
        draws=20,
        kind="ridge",
        used="ridge",
        srcc=0.8,
        srcc_half=0.7,
        designs=4,
        loss=0.1,
        low=0.0,
        high=0.2,
        unit="fd_efflite0",
        margin=0.01,
    )
    study.ranker_dir.mkdir()
    (study.ranker_dir / "worth.json").write_text(worth.to_json())
    offers = offer_labels(study, make_plan(measure=(1, seconds)))
    assert [(row.labels, row.seconds, row.srcc) for row in offers.rows] == [
        (10, 0.0, 0.7),
        (20, 0.0, 0.8),
        (40, None if seconds is None else 140.0, None),
    ]
    assert worth.describe() in offers.source
    plan = make_plan(measure=(1, seconds)).model_copy(update={"offers": offers})
    said = describe_plan(plan).splitlines()
    rows = [line.split() for line in said]
    assert ["10", "<", "1", "s", "0.70", "ridge"] in rows
    assert max(map(len, said)) <= 100
    assert ["40", "-" if seconds is None else "0:02:20", "not", "known", "ridge"] in rows


def test_the_table_says_time_order_designs_and_source(tmp_path: Path) -> None:
    plan = make_plan(probe=(67, 5.0), prepare=(1, 30.0), label=(10, 100.0))
    offers = offer_labels(make_study(tmp_path / "study", '[space]\nstrategy = "probe"\n'), plan)
    plan = plan.model_copy(update={"offers": offers})
    said = describe_plan(plan)
    rows = [line.split() for line in said.splitlines()]
    assert ["labels", "time", "here", "SRCC", "designs", "by"] in rows
    assert ["16", "0:03:15", "0.77", "250.3", "gnn-probe"] in rows
    assert f"SRCC from {offers.source}" in " ".join(said.splitlines())
    assert "sdsearch run: 0:02:15 on this machine" in said
    assert StudyPlan.model_validate_json(plan.model_dump_json()) == plan
