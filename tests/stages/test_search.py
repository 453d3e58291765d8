from __future__ import annotations

import shutil
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import HarnessError, InputError
from sdsearch.keys import content_key
from sdsearch.labels.label import Measurement
from sdsearch.ranker import published as paper
from sdsearch.space.space import search_space
from sdsearch.stages.build import build_study
from sdsearch.stages.compare import best_measured, compare_study
from sdsearch.stages.fit import fit_inputs, fit_study, training_labels
from sdsearch.stages.sample import sample_study
from sdsearch.stages.score import score_study
from sdsearch.study.listing import read_designs
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

    from sdsearch.study.requests import GridRequest

METHODS = ("autobuild", "exhaustive", "ridge", "autobuild-paper")
SMALL = f"[space]\nlabels = 12\n[build]\ntop = 2\nmethods = {list(METHODS)}\n"


def test_the_predictor_learns_from_the_sample_under_the_label_seed_alone(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", SMALL)
    listing = sample_study(study)
    label_by_params(study)
    other = make_label(search_space("tiny").arch(12_345), fd_efflite0={"value": 1.0})
    study.labels.write(other)
    study.labels.write(measured(tiny_member(), 99.0, seed=7))
    keys = [label.arch_key for label in training_labels(study)]
    assert keys == listing.keys_from("sample")


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
    study.labels.write(measured(first, 150.0))
    study.labels.write(measured(second, 140.0))
    best = best_measured(study, "autobuild")
    assert best is not None
    assert best.name == "autobuild-2"
    assert best_measured(study, "random") is None
    assert best_measured(study) == best


def test_the_best_design_of_any_method_is_painted_and_no_net_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study")
    first, second, third = (tiny_member(n) for n in ("bk-base", "bk-small", "bk-tiny"))
    designs = [
        make_design(first, "autobuild", 1),
        make_design(second, "exhaustive", 1),
        make_design(third, "one-shot", 1),
        make_design(third, "autobuild", 2),
    ]
    write_designs(study, designs)
    for arch, value in ((first, 150.0), (second, 145.0), (third, 140.0)):
        study.labels.write(measured(arch, value))
    asked: list[GridRequest] = []

    def run(request: GridRequest) -> None:
        asked.append(request)
        raise HarnessError("compare", 1)

    monkeypatch.setattr("sdsearch.stages.compare.run_harness", run)
    with pytest.raises(HarnessError):
        compare_study(study)
    assert list(asked[0].columns) == ["tiny teacher", "tiny one-shot-1", "tiny exhaustive-1"]


def test_too_few_labels_say_what_to_do(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", SMALL)
    sample_study(study)
    with pytest.raises(InputError, match="label"):
        fit_study(study)


@pytest.mark.slow
def test_search_stages_follow_the_labels_and_skip_what_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(paper.fit_paper, config=paper.PaperConfig(steps=20))
    monkeypatch.setattr(paper, "fit_paper", quick)
    study = make_study(tmp_path / "study", SMALL)
    sample_study(study)
    label_by_params(study)
    designs = build_study(study)
    assert [design.name for design in designs] == [
        f"{method}-{rank}" for method in METHODS for rank in (1, 2)
    ]
    files = [study.scores_file, study.designs_file, *study.ranker_dir.iterdir()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert build_study(study) == designs
    assert {path: path.stat().st_mtime_ns for path in files} == before
    scores = score_study(study)
    changed = measured(training_labels(study)[0].architecture, 50.0)
    study.labels.write(changed)
    assert score_study(study) != scores
    predicted = np.array([design.predicted.target for design in build_study(study)])
    assert np.isfinite(predicted).all()


def test_a_fit_depends_on_the_errors_of_labels_and_on_what_the_teacher_holds(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(asset_path(TINY_TEACHER), folder)
    toml = f"[teacher]\npipeline = {str(folder)!r}\n{SMALL}"
    study = make_study(tmp_path / "study", toml)
    sample_study(study)
    label_by_params(study)
    first, *others = training_labels(study)
    found = [fit_inputs(study, [first, *others])]
    assert fit_inputs(study, [first, *others]) == found[0]
    unsure = Measurement(value=first.scalar("fd_efflite0"), se=9.0, n=256)
    values = {**first.values, "fd_efflite0": unsure}
    found.append(fit_inputs(study, [first.model_copy(update={"values": values}), *others]))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    found.append(fit_inputs(study, [first, *others]))
    assert len({content_key(inputs) for inputs in found}) == 3


def test_a_fit_is_made_again_only_when_what_it_depends_on_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study", SMALL)
    sample_study(study)
    label_by_params(study)
    fits: list[int] = []
    current, report = [False], object()
    monkeypatch.setattr("sdsearch.stages.fit.is_current", lambda *_: current[0])
    monkeypatch.setattr("sdsearch.stages.fit.record_done", lambda *_: current.__setitem__(0, True))
    monkeypatch.setattr("sdsearch.ranker.fit_ranker", lambda *_: fits.append(1))
    monkeypatch.setattr("sdsearch.ranker.save_ranker", lambda *_: None)
    monkeypatch.setattr("sdsearch.ranker.load_ranker", lambda *_: SimpleNamespace(report=report))
    monkeypatch.setattr("sdsearch.stages.fit.weigh_labels", lambda *_: None)
    assert fit_study(study) is fit_study(study) is report
    assert fits == [1]


def test_a_study_of_few_samples_is_compared_on_those_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study", "[protocol]\nsamples = 4\n")
    write_designs(study, [make_design(tiny_member("bk-tiny"), "autobuild", 1)])
    asked: list[GridRequest] = []
    monkeypatch.setattr("sdsearch.stages.compare.run_harness", asked.append)
    monkeypatch.setattr("sdsearch.stages.compare.record_done", lambda *_: None)
    compare_study(study)
    assert [request.rows for request in asked] == [4]


def test_comparing_says_what_the_difference_of_each_painted_design_bears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study")
    built = (("bk-small", "autobuild", 1), ("bk-tiny", "autobuild", 2), ("bk-base", "random", 1))
    designs = [make_design(tiny_member(name), method, rank) for name, method, rank in built]
    write_designs(study, designs)
    for name, fd in (("teacher", 80.0), ("bk-small", 90.0), ("bk-tiny", 60.0), ("bk-base", 95.0)):
        study.labels.write(measured(tiny_member(name), fd, 0.5))
    said: list[str] = []
    monkeypatch.setattr("sdsearch.stages.compare.run_harness", lambda _: None)
    monkeypatch.setattr("sdsearch.stages.compare.record_done", lambda *_: None)
    monkeypatch.setattr("sdsearch.stages.compare.say", said.append)
    compare_study(study)
    painted, methods = said
    assert painted.startswith("autobuild-2 against the teacher: better; difference -20.00 [")
    assert painted.endswith("(t test, unpaired errors, 1 label seed; Holm over 3 claims)")
    assert methods.startswith("autobuild (2) against random (1): better; difference -20.00 [")
