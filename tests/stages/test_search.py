from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.errors import InputError
from sdsearch.labels.store import write_label
from sdsearch.ranker import published as paper
from sdsearch.space.space import search_space
from sdsearch.stages.compare import best_measured
from sdsearch.stages.sample import sample
from sdsearch.stages.search import build, fit, read_designs, score, training_labels
from tests.fakes import (
    label_by_params,
    make_design,
    make_label,
    make_study,
    measured,
    tiny_member,
    write_designs,
)

if TYPE_CHECKING:
    from pathlib import Path

METHODS = ("autobuild", "exhaustive", "ridge", "autobuild-paper")
SMALL = f"[space]\nlabels = 12\n[build]\ntop = 2\nmethods = {list(METHODS)}\n"


def test_the_predictor_learns_from_the_sample_under_the_label_seed_alone(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", SMALL)
    rows = sample(study)
    label_by_params(study)
    other = make_label(search_space("tiny").arch(12_345), fd_efflite0={"value": 1.0})
    write_label(study, other)
    write_label(study, measured(tiny_member(), 99.0, seed=7))
    keys = [label.arch_key for label in training_labels(study)]
    assert keys == [row["arch_key"] for row in rows if row["origin"] == "uniform"]


def test_there_are_no_designs_before_build(tmp_path: Path) -> None:
    assert read_designs(make_study(tmp_path / "study")) == ()


def test_the_best_measured_design_is_the_best_by_target_not_by_rank(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    first, second, unmeasured = (tiny_member(n) for n in ("bk-base", "bk-small", "bk-tiny"))
    designs = [
        make_design(arch, "autobuild", rank)
        for rank, arch in enumerate((first, second, unmeasured), start=1)
    ]
    write_designs(study, designs)
    assert best_measured(study, "autobuild") is None
    write_label(study, measured(first, 150.0))
    write_label(study, measured(second, 140.0))
    best = best_measured(study, "autobuild")
    assert best is not None
    assert best.name == "autobuild-2"
    assert best_measured(study, "random") is None


def test_too_few_labels_say_what_to_do(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", SMALL)
    sample(study)
    with pytest.raises(InputError, match="label"):
        fit(study)


@pytest.mark.slow
def test_search_stages_follow_the_labels_and_skip_what_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(paper.fit_paper, config=paper.PaperConfig(steps=20))
    monkeypatch.setattr(paper, "fit_paper", quick)
    study = make_study(tmp_path / "study", SMALL)
    sample(study)
    label_by_params(study)
    designs = build(study)
    assert [design.name for design in designs] == [
        f"{method}-{rank}" for method in METHODS for rank in (1, 2)
    ]
    files = [study.scores_file, study.designs_file, *study.ranker_dir.iterdir()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert build(study) == designs
    assert {path: path.stat().st_mtime_ns for path in files} == before
    scores = score(study)
    changed = measured(training_labels(study)[0].architecture, 50.0)
    write_label(study, changed)
    assert score(study) != scores
    predicted = np.array([design.predicted.target for design in build(study)])
    assert np.isfinite(predicted).all()
