"""What would be refused after hours is refused at once, whichever way a study is entered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdsearch.errors import InputError
from sdsearch.stages.build import build_study
from sdsearch.stages.journey import run_study
from sdsearch.stages.label import halve_study, label_study, prepare_study
from sdsearch.stages.recover import recover_design
from sdsearch.stages.tune import tune_teacher
from sdsearch.study.folder import read_study
from sdsearch.study.requests import ServeRequest
from sdsearch.workers.process import HarnessProcess
from sdsearch_eval.jobs.serve import open_desk
from tests.fakes import make_study

IMPOSSIBLE, SAID = "[build]\nbudget = { params = 1000 }\n", "the budget must admit"
ENTRANCES = {
    "run": run_study,
    "label": label_study,
    "halving": halve_study,
    "prepare": prepare_study,
    "recover": lambda study: recover_design(study, "autobuild-1"),
    "build": build_study,
}


@pytest.fixture(autouse=True)
def _no_process(monkeypatch):
    def start(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.Popen", start)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_every_entrance_refuses_it(entrance, tmp_path):
    study = make_study(tmp_path / "study", IMPOSSIBLE)
    with pytest.raises(InputError, match=SAID):
        ENTRANCES[entrance](study)
    assert {file.name for file in study.root.iterdir()} == {"study.toml"}


def test_a_teacher_is_not_tuned_for_it(tmp_path):
    words = 'pipeline = "assets/worlds/words-16"\ninpaint = true\n'
    study = make_study(tmp_path / "study", f"[teacher]\n{words}{IMPOSSIBLE}")
    with pytest.raises(InputError, match=SAID):
        tune_teacher(study)


def test_the_process_that_labels_refuses_it_whoever_started_it(tmp_path):
    study = make_study(tmp_path / "study", IMPOSSIBLE)
    with pytest.raises(InputError, match=SAID):
        open_desk(ServeRequest(study=study.root, seed=0, processes=1), None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("[protocol]\nsteps = 9\n", r"stay as it is.*\[protocol\]"),
        ('[teacher]\npipeline = "elsewhere"\n', r"stay as it is.*\[teacher\]"),
        ("[protocol]\nstep = 9\n", "did you mean 'steps'"),
    ],
)
def test_a_worker_starts_no_process_on_a_study_that_was_changed(changed, said, tmp_path):
    study = make_study(tmp_path / "study")
    (study.root / "study.toml").write_text(changed)
    with pytest.raises(InputError, match=said), HarnessProcess(study) as labeller:
        labeller.prepare()


def test_what_no_label_depends_on_may_change_while_a_worker_runs(tmp_path):
    study = make_study(tmp_path / "study")
    (study.root / "study.toml").write_text('[build]\nmethods = ["random"]\n')
    labeller = HarnessProcess(replace(study.at_seed(7), read_protocols=()))
    with pytest.raises(AssertionError, match="a process was started"):
        labeller.prepare()
    assert read_study(study.root).config.build.methods == ("random",)
