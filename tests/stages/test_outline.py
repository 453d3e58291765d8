"""What a run would do is said truly before it does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.planning.steps import keep_plan, read_times
from sdsearch.space.space import search_space
from sdsearch.stages import probe as stage
from sdsearch.stages.build import build_study
from sdsearch.stages.journey import outline_study
from sdsearch.stages.probe import probe_study
from sdsearch.stages.sample import sample_study
from sdsearch.study.folder import read_study
from tests.fakes import label_by_params, make_study
from tests.planning.test_offers import make_plan
from tests.planted import planted_probe

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

TOML = """
[space]
labels = 2
[ranker]
kind = "one-shot"
[build]
top = 2
methods = ["one-shot"]
budget = { params = { share = 0.6 } }
"""
STEPS = (
    *("probe", "sample", "label", "fit", "score", "build", "designs", "compare", "export"),
    "report",
)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    def run(request: Any) -> None:
        probe = planted_probe(search_space("tiny"), timesteps=request.timesteps)
        write_atomic(request.study / "probe.json", probe.to_json())

    monkeypatch.setattr(stage, "run_harness", run)
    return make_study(tmp_path / "study", TOML)


def done(study: StudyFolder) -> list[str]:
    plan = outline_study(study)
    assert tuple(step.name for step in plan.steps) == STEPS
    return [step.name for step in plan.steps if step.is_done]


def parts(study: StudyFolder, name: str) -> tuple[int | None, int | None]:
    (step,) = (step for step in outline_study(study).steps if step.name == name)
    return step.done, step.total


def files_of(study: StudyFolder) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in study.root.rglob("*") if path.is_file()}


def test_a_step_is_done_only_if_all_before_it_are(study: StudyFolder) -> None:
    assert done(study) == []
    assert parts(study, "label") == (0, 6)
    sample_study(study)
    label_by_params(study)
    assert done(study) == [], "there is no probe"
    assert parts(study, "label") == (6, 6)
    probe_study(study)
    before = files_of(study)
    assert done(study) == ["probe", "sample", "label"]
    assert files_of(study) == before, "an outline changes nothing"
    next(study.labels.folder.rglob("*.json")).unlink()
    assert done(study) == ["probe", "sample"]
    assert parts(study, "label") == (5, 6)


@pytest.mark.slow
def test_what_was_made_of_other_settings_or_labels_is_to_do_again(study: StudyFolder) -> None:
    probe_study(study)
    sample_study(study)
    label_by_params(study)
    build_study(study)
    assert done(study) == ["probe", "sample", "label", "fit", "score", "build"]
    assert parts(study, "designs") == (0, 2)
    other = make_study(study.root, TOML.replace("top = 2", "top = 1"))
    assert done(other) == ["probe", "sample", "label", "fit", "score"]
    next(study.labels.folder.rglob("*.json")).unlink()
    assert done(other) == ["probe", "sample"]


def test_times_are_those_of_the_last_plan_for_what_is_left_alone(study: StudyFolder) -> None:
    sample_study(study)
    assert outline_study(study).seconds == 0
    assert "sdsearch plan" in str(outline_study(study))
    keep_plan(study, make_plan(probe=(67, 134.0), prepare=(1, 30.0), label=(12, 120.0)))
    seconds = {step.name: step.seconds for step in outline_study(study).steps}
    assert seconds["label"] == pytest.approx(30 + 6 * 10)
    assert seconds["compare"] is None
    assert "about 1.5 min" in str(outline_study(study))
    probe_study(study)
    assert outline_study(study).seconds == pytest.approx(90), "the probe is done"


def test_a_plan_of_other_settings_or_of_another_machine_tells_no_times(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_plan(study, make_plan(label=(12, 120.0)))
    assert read_times(study) == {"label": 10.0}
    other = make_study(study.root, TOML + "[protocol]\nsteps = 4\n")
    assert read_times(other) == {}
    make_study(study.root, TOML)
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert read_times(study) == {}


def test_a_dry_run_prints_the_steps_and_does_none(study: StudyFolder) -> None:
    before = files_of(study)
    found = CliRunner().invoke(app, ["run", str(study.root), "--dry-run"])
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("plan: 10 steps, 10 to do\n")
    assert found.stdout.count("\n  to do ") == 10
    assert max(map(len, found.stdout.splitlines()[:11])) <= 80
    assert files_of(study) == before


def test_a_dry_run_of_a_study_that_could_not_end_is_refused(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[build]\nbudget = { params = 1000 }\n")
    with pytest.raises(InputError, match="params"):
        outline_study(study)
    assert read_study(study.root) == study
