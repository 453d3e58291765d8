from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

import sdsearch.replay
from scripts.make_schemas import FOLDER
from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.labels.store import read_label_table, write_label_table
from sdsearch.replay.methods import METHODS, find_methods
from sdsearch.replay.plot import draw_replay
from sdsearch.replay.replay import Method, ReplayTask, SearchMethod, replay_once
from sdsearch.replay.runs import describe_summary, run_replay, summarize_trials
from tests.planted import planted_probe
from tests.replay.tables import BUDGETS, ORACLE, SPACE, TRUTH, WRONG, planted_labels, pool_of

if TYPE_CHECKING:
    from sdsearch.replay.pool import Floats, Pool
    from sdsearch.replay.replay import Trial

ROOT = Path(__file__).resolve().parents[2]


def too_few(task: ReplayTask, rng: np.random.Generator) -> Floats:
    return np.zeros(3)


def undecided(task: ReplayTask, rng: np.random.Generator) -> Floats:
    return np.full(len(task.candidates), np.nan)


def test_a_method_that_knows_the_truth_finds_the_best_at_once() -> None:
    pool = pool_of(planted_labels())
    for trial in replay_once(pool, {"oracle": ORACLE}, BUDGETS, 20, (0, 0)):
        assert (trial.srcc, trial.regret, trial.needed) == (1.0, 0.0, 21)
        assert trial.ndcg == pytest.approx(1.0)


def test_a_method_that_is_always_wrong_finds_the_best_last() -> None:
    pool = pool_of(planted_labels())
    (trial,) = replay_once(pool, {"wrong": WRONG}, [None], 20, (0, 0))
    assert (trial.srcc, trial.needed) == (-1.0, 60)
    assert trial.regret > 0


def test_what_was_labelled_is_no_candidate_and_the_values_are_the_tables() -> None:
    labels, seen = planted_labels(), []

    def looks(task: ReplayTask, rng: np.random.Generator) -> Floats:
        seen.append(task)
        return np.arange(len(task.candidates), dtype=np.float64)

    list(replay_once(pool_of(labels), {"looks": Method(looks)}, [None], 20, (0, 0)))
    task = seen[0]
    assert len(task.labelled) == 20
    assert {a.key for a in task.labelled} | {a.key for a in task.candidates} == {
        label.arch_key for label in labels
    }
    np.testing.assert_allclose(task.y, -np.log(TRUTH.fid(task.labelled)))


def test_under_a_budget_only_members_within_it_are_picked() -> None:
    pool = pool_of(planted_labels())
    biggest = {"biggest": METHODS["most-params"]}
    (trial,) = replay_once(pool, biggest, BUDGETS[1:], 20, (0, 0))
    allowed = pool.allowed(BUDGETS[1])
    within = pool.quality[allowed]
    assert within.min() <= trial.best <= trial.mean <= within.max()
    assert pool.shares["params"][allowed].max() <= 0.6


def test_adding_a_method_changes_no_other_result() -> None:
    pool = pool_of(planted_labels())
    alone = list(replay_once(pool, {"random": METHODS["random"]}, BUDGETS, 20, (3, 1)))
    both = {"ridge": METHODS["ridge"], "random": METHODS["random"]}
    found = [t for t in replay_once(pool, both, BUDGETS, 20, (3, 1)) if t.method == "random"]
    assert found == alone


@pytest.mark.slow
def test_resamplings_differ_and_are_the_same_with_any_number_of_processes() -> None:
    pool = pool_of(planted_labels())
    runs = [
        run_replay(pool, ["ridge", "most-params", "random"], BUDGETS, 20, 3, 0, processes=count)
        for count in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert len({trial.mean for trial in runs[0] if trial.method == "random"}) > 2


@pytest.mark.parametrize("method", [too_few, undecided])
def test_a_method_must_return_a_number_for_every_candidate(method: SearchMethod) -> None:
    pool = pool_of(planted_labels())
    with pytest.raises(InputError, match="'mine' must return 40 values"):
        list(replay_once(pool, {"mine": Method(method)}, [None], 20, (0, 0)))


@pytest.mark.slow
def test_a_method_in_the_folder_at_hand_is_found_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(def fewest_removed.*?)```", page, re.DOTALL)
    (tmp_path / "my_search.py").write_text(example)
    command = shutil.which("sdsearch", path=str(Path(sys.executable).parent))
    assert command is not None
    line = [command, "bench", "--method", "most-params", "--method", "my_search:fewest_removed"]
    done = subprocess.run(
        [*line, "--resamplings", "2", "--share", "0.6", "--macs-share", "0.7"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| my_search:fewest_removed |") == 3


def test_a_summary_pairs_resamplings_and_says_who_is_behind() -> None:
    pool = pool_of(planted_labels())
    names = ["tests.replay.tables:know", "random"]
    trials = run_replay(pool, names, BUDGETS, 20, 4, 0, processes=1)
    summary = summarize_trials(trials, pool, 20, 0)
    mine, other = (row for row in summary.rows if row.budget is None)
    assert mine.behind == (0.0, 0.0, 0.0)
    gaps = [
        r.mean - o.mean
        for o, r in zip(
            [t for t in trials if t.method == names[0] and t.budget is None],
            [t for t in trials if t.method == "random" and t.budget is None],
            strict=True,
        )
    ]
    assert other.behind[0] == pytest.approx(np.mean(gaps))
    assert other.behind[1] > 0
    assert mine.srcc.median == 1.0
    assert summary.within["no budget"] == 60
    text = describe_summary(summary)
    assert "| random |" in text
    assert "<= 60% of the parameters" in text


def test_a_summary_says_what_labels_were_drawn_from_and_how_many_are_common() -> None:
    pool = pool_of(planted_labels())
    runs = [replay_once(pool, {"oracle": ORACLE}, [None], 20, (3, number)) for number in range(4)]
    trials = [trial for run in runs for trial in run]
    summary = summarize_trials(trials, pool, 20, 3)
    draws = [{*pool.draw(20, (3, number))} for number in range(4)]
    common = [len(draws[i] & draws[j]) / 20 for i in range(4) for j in range(i)]
    assert summary.overlap == pytest.approx(np.mean(common))
    assert (summary.drawn, summary.source) == (60, "all rows but the teacher's")
    text = describe_summary(summary)
    assert "20 random labels of 60 architectures (all rows but the teacher's)" in text
    assert f"share {summary.overlap:.0%} of their labels" in text
    assert "nobody may pick the teacher" in text


def test_foreign_text_in_the_picture_stays_text() -> None:
    pool = pool_of(planted_labels())
    trials = list(replay_once(pool, {"<script>&": ORACLE}, BUDGETS, 20, (0, 0)))
    summary = summarize_trials(trials, pool, 20, 0)
    svg = draw_replay(summary)
    assert "<script>" not in svg
    assert "&lt;script&gt;&amp;" in svg
    assert svg.count("<circle") == 2


def test_the_command_prints_valid_json_and_writes_table_and_picture(tmp_path: Path) -> None:
    table, out = tmp_path / "table.jsonl", tmp_path / "out"
    write_label_table(table, planted_labels())
    line = ["bench", "--table", str(table), "--labels", "20", "--resamplings", "2"]
    line += ["--method", "ridge", "--method", "random", "--share", "0.6", "--out", str(out)]
    done = CliRunner().invoke(app, [*line, "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    schema = json.loads((FOLDER / "bench.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(printed)
    assert json.loads((out / "bench.json").read_text()) == printed
    assert "| ridge |" in (out / "bench.md").read_text()
    assert (out / "bench.svg").read_text().startswith("<svg")
    assert printed["source"] == "all rows but the teacher's"
    assert printed["rows"][1]["budget"] == {"resource": "params", "share": 0.6}


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays of one resampling run here: starting a process takes seconds."""

    def run(pool: Pool, names: list[str], *asked: Any, **__: Any) -> list[Trial]:
        budgets, labels, _, seed = asked
        found = find_methods(names, pool.probe)
        return list(replay_once(pool, found, budgets, labels, (seed, 0)))

    monkeypatch.setattr(sdsearch.replay, "run_replay", run)


def bench(table: Path | None, *line: str) -> list[dict[str, Any]]:
    """The rows that the command prints for a table, or without one for the embedded world."""
    small = ["bench", "--labels", "20", "--resamplings", "1", "--json"]
    small += ["--table", str(table)] if table else []
    done = CliRunner().invoke(app, [*small, *line])
    assert done.exit_code == 0, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


@pytest.mark.usefixtures("in_this_process")
def test_the_command_takes_shares_of_both_resources_and_its_own_only_without_any(
    tmp_path: Path,
) -> None:
    write_label_table(tmp_path / "table.jsonl", planted_labels(150))
    run = partial(bench, tmp_path / "table.jsonl", "--method", "most-macs")
    said = [(row["budget"]["resource"], row["budget"]["share"]) for row in run()[1:]]
    assert said == [("params", 0.6), ("macs", 0.7), ("macs", 0.6), ("macs", 0.5)]
    (none, own) = run("--macs-share", "0.8")
    assert (none["budget"], own["budget"]) == (None, {"resource": "macs", "share": 0.8})


@pytest.mark.usefixtures("in_this_process")
def test_the_command_needs_a_probe_for_methods_that_know_one(tmp_path: Path) -> None:
    table, file = tmp_path / "table.jsonl", tmp_path / "probe.json"
    write_label_table(table, planted_labels())
    line = ["bench", "--table", str(table), "--share", "0.7", "--method", "one-shot"]
    refused = CliRunner().invoke(app, line)
    assert "one-shot must have a probe" in str(refused.exception)
    missing = CliRunner().invoke(app, [*line, "--probe", str(file)])
    assert "sdsearch probe STUDY" in str(missing.exception)
    probe = planted_probe(SPACE)
    file.write_text(probe.model_dump_json())
    rows = bench(table, *line[3:], "--probe", str(file))
    pool = pool_of(read_label_table(table), probe)
    (expected,) = replay_once(pool, {"one-shot": METHODS["one-shot"]}, [None], 20, (0, 0))
    assert rows[0]["mean"]["median"] == expected.mean


@pytest.mark.usefixtures("in_this_process")
def test_the_world_of_the_embedded_teacher_comes_with_its_probe() -> None:
    rows = bench(None, "--method", "one-shot", "--method", "most-macs", "--seed", "3")
    assert {row["method"] for row in rows} == {"one-shot", "most-macs"}
    assert len(rows) == 2 * 5
