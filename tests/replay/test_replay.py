from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from scripts.make_schemas import FOLDER
from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.labels.label import Failure
from sdsearch.labels.store import write_label_table
from sdsearch.labels.target import Target
from sdsearch.replay.methods import METHODS
from sdsearch.replay.plot import draw_replay
from sdsearch.replay.replay import (
    Pool,
    ReplayTask,
    check_replay,
    find_method,
    read_pool,
    replay_once,
)
from sdsearch.replay.runs import describe_summary, run_replay, summarize_trials
from sdsearch.space.space import search_space
from sdsearch.stats import spearman
from sdsearch.unet.cost import count_params
from tests.fakes import make_label, measured
from tests.planted import PlantedTruth

if TYPE_CHECKING:
    from sdsearch.labels.label import Label
    from sdsearch.replay.replay import Floats, SearchMethod

ROOT = Path(__file__).resolve().parents[2]
SPACE = search_space("tiny")
TARGET = Target("-log(fd_efflite0)")
TRUTH = PlantedTruth.draw(np.random.default_rng(5))
BUDGETS = (None, 0.6)


def planted_labels(count: int = 60) -> list[Label]:
    archs = SPACE.sample(count, np.random.default_rng(0))
    return [measured(arch, float(fd)) for arch, fd in zip(archs, TRUTH.fid(archs), strict=True)]


def pool_of(labels: list[Label]) -> Pool:
    return read_pool(labels, SPACE, TARGET, "fd_efflite0", None)


def oracle(task: ReplayTask, rng: np.random.Generator) -> Floats:
    """A user's method that happens to know the truth."""
    return -TRUTH.fid(task.candidates)


def reversed_oracle(task: ReplayTask, rng: np.random.Generator) -> Floats:
    return -oracle(task, rng)


def too_few(task: ReplayTask, rng: np.random.Generator) -> Floats:
    return np.zeros(3)


def undecided(task: ReplayTask, rng: np.random.Generator) -> Floats:
    return np.full(len(task.candidates), np.nan)


def test_a_method_that_knows_the_truth_finds_the_best_at_once() -> None:
    pool = pool_of(planted_labels())
    for trial in replay_once(pool, {"oracle": oracle}, BUDGETS, 20, (0, 0)):
        assert (trial.srcc, trial.regret, trial.needed) == (1.0, 0.0, 21)
        assert trial.ndcg == pytest.approx(1.0)


def test_a_method_that_is_always_wrong_finds_the_best_last() -> None:
    pool = pool_of(planted_labels())
    (trial,) = replay_once(pool, {"wrong": reversed_oracle}, [None], 20, (0, 0))
    assert (trial.srcc, trial.needed) == (-1.0, 60)
    assert trial.regret > 0


def test_what_was_labelled_is_no_candidate_and_the_values_are_the_tables() -> None:
    labels, seen = planted_labels(), []

    def looks(task: ReplayTask, rng: np.random.Generator) -> Floats:
        seen.append(task)
        return np.arange(len(task.candidates), dtype=np.float64)

    list(replay_once(pool_of(labels), {"looks": looks}, [None], 20, (0, 0)))
    task = seen[0]
    assert len(task.labelled) == 20
    assert {a.key for a in task.labelled} | {a.key for a in task.candidates} == {
        label.arch_key for label in labels
    }
    np.testing.assert_allclose(task.y, -np.log(TRUTH.fid(task.labelled)))


def test_under_a_budget_only_members_within_it_are_picked() -> None:
    pool = pool_of(planted_labels())

    def biggest(task: ReplayTask, rng: np.random.Generator) -> Floats:
        return METHODS["params"](task, rng)

    (trial,) = replay_once(pool, {"biggest": biggest}, [0.6], 20, (0, 0))
    within = pool.quality[pool.allowed(0.6)]
    assert within.min() <= trial.best <= trial.mean <= within.max()
    assert pool.share[pool.allowed(0.6)].max() <= 0.6


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
        run_replay(pool, ["ridge", "params", "random"], BUDGETS, 20, 3, 0, processes=count)
        for count in (1, 2)
    ]
    assert runs[0] == runs[1]
    assert len({trial.mean for trial in runs[0] if trial.method == "random"}) > 2


@pytest.mark.parametrize("method", [too_few, undecided])
def test_a_method_must_return_a_number_for_every_candidate(method: SearchMethod) -> None:
    pool = pool_of(planted_labels())
    with pytest.raises(InputError, match="'mine' must return 40 values"):
        list(replay_once(pool, {"mine": method}, [None], 20, (0, 0)))


def test_a_failed_label_counts_as_the_worst() -> None:
    labels = planted_labels()
    failed = make_label(
        SPACE.arch(7),
        protocol_key=labels[0].protocol_key,
        failure=Failure(kind="architecture", message="NaN"),
    )
    pool = pool_of([*labels, failed])
    assert pool.y[-1] == pool.y[:-1].min()
    assert pool.quality[-1] == pool.quality[:-1].max()


def test_other_seeds_and_protocols_are_left_out() -> None:
    labels = planted_labels()
    other = labels[0].model_copy(update={"protocol_key": "0" * 12})
    reseeded = labels[1].model_copy(update={"seed": 1})
    assert len(pool_of([*labels, other, reseeded]).y) == 60


def test_a_table_of_few_labels_is_refused() -> None:
    with pytest.raises(InputError, match="needs 20 measured architectures"):
        pool_of(planted_labels(19))


def test_a_budget_that_leaves_no_candidates_is_refused() -> None:
    pool = pool_of(planted_labels())
    with pytest.raises(InputError, match=r"take fewer labels or a larger share"):
        check_replay(pool, (0.3,), 20)
    with pytest.raises(InputError, match=r"0 < share <= 1"):
        check_replay(pool, (60.0,), 20)
    with pytest.raises(InputError, match="needs 8 candidates"):
        check_replay(pool, (None,), 57)


def test_a_method_is_found_by_name_or_as_module_and_function() -> None:
    assert find_method("ridge", METHODS) is METHODS["ridge"]
    assert find_method("tests.replay.test_replay:oracle", METHODS).__name__ == "oracle"
    with pytest.raises(InputError, match="did you mean 'ridge'"):
        find_method("rigde", METHODS)
    with pytest.raises(InputError, match="must be importable"):
        find_method("tests.replay.test_replay:nobody", METHODS)
    with pytest.raises(InputError, match="is no function"):
        find_method("tests.replay.test_replay:SPACE", METHODS)


@pytest.mark.parametrize(("name", "lowest"), [("ridge", 0.6), ("forest", 0.35), ("evolution", 0.1)])
def test_a_quick_method_orders_the_candidates_by_what_it_has_seen(name: str, lowest: float) -> None:
    pool = pool_of(planted_labels(120))
    srcc = [
        next(replay_once(pool, {name: METHODS[name]}, [None], 68, (0, number))).srcc
        for number in range(6)
    ]
    assert np.mean(srcc) > lowest


def test_params_orders_by_size_and_random_by_nothing() -> None:
    archs = tuple(label.architecture for label in planted_labels(120))
    task = ReplayTask(SPACE, archs[:20], np.zeros(20), archs[20:])
    sizes = [count_params(arch, SPACE.backbone) for arch in task.candidates]
    assert spearman(METHODS["params"](task, np.random.default_rng(0)), sizes) == pytest.approx(1)
    drawn = [METHODS["random"](task, np.random.default_rng(seed)) for seed in range(20)]
    assert abs(np.mean([spearman(values, sizes) for values in drawn])) < 0.1


@pytest.mark.slow
def test_a_method_in_the_folder_at_hand_is_found_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tiny-benchmark.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_search.py").write_text(example)
    command = shutil.which("sdsearch", path=str(Path(sys.executable).parent))
    assert command is not None
    line = [command, "bench", "--method", "params", "--method", "my_search:fewest_removed"]
    done = subprocess.run(
        [*line, "--resamplings", "2"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| my_search:fewest_removed |") == 3


@pytest.mark.slow
def test_the_gnn_methods_rank_planted_candidates_well() -> None:
    labels = planted_labels(120)
    order = np.random.default_rng(0).permutation(120)
    archs = [label.architecture for label in labels]
    y = -np.log(TRUTH.fid(archs))
    task = ReplayTask(
        SPACE,
        tuple(archs[i] for i in order[:68]),
        y[order[:68]],
        tuple(archs[i] for i in order[68:]),
    )
    for name, lowest in (("autobuild", 0.7), ("exhaustive", 0.7), ("autobuild-paper", 0.0)):
        values = METHODS[name](task, np.random.default_rng(0))
        assert spearman(values, y[order[68:]]) > lowest, name


def test_a_summary_pairs_resamplings_and_says_who_is_behind() -> None:
    pool = pool_of(planted_labels())
    names = ["tests.replay.test_replay:oracle", "random"]
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


def test_foreign_text_in_the_picture_stays_text() -> None:
    pool = pool_of(planted_labels())
    trials = list(replay_once(pool, {"<script>&": oracle}, BUDGETS, 20, (0, 0)))
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
