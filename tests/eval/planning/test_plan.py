"""What a study will take on this machine, and what is refused before any hour is spent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from sdsearch.api import create_study
from sdsearch.errors import InputError
from sdsearch.planning import describe_plan, find_problems
from sdsearch.planning.tasks import list_tasks
from sdsearch.study import TUNING, describe_tuning, load_space
from sdsearch.unet import UNPRUNED, count_params
from sdsearch_eval.planning import (
    describe_work,
    plan_study,
    settle_labels,
    settle_recovery,
    settle_tuning,
    settling,
    speeds,
)
from sdsearch_eval.planning.phases import recover_phases
from sdsearch_eval.recovery import Cut
from tests.fakes import (
    list_members,
    make_design,
    make_study,
    measured,
    tiny_member,
    write_designs,
)

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder

WORDS = Path(__file__).parents[3] / "assets" / "worlds" / "words-16"

CPU = torch.device("cpu")
SMALL = """
[space]
labels = 3
[protocol]
samples = 4
block_size = 4
steps = 2
recovery = { steps = 2, batch_size = 2 }
[build]
methods = ["autobuild", "random"]
top = 2
budget = { params = { share = 0.6 } }
[export]
recovery = { steps = 3, batch_size = 2 }
"""


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    return make_study(tmp_path / "study", SMALL)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of work is tried twice, however fast it is."""
    monkeypatch.setattr(speeds, "WATCHED", 0.0)


def stages(study: StudyFolder) -> dict[str, int]:
    return {task.stage: len(task.architectures) for task in list_tasks(study)}


def test_what_is_left_to_do_is_counted(study: StudyFolder) -> None:
    drawn = 4 + 3  # named members, and those of the sample
    assert stages(study) == {
        "probe": 67,
        "prepare": 1,
        "label": drawn,
        "search": drawn,
        "measure": 4,
        "remake": 0,
        "compare": 3,
        "export": 2,
        "recover": 1,
    }
    list_members(study, [tiny_member("bk-small"), tiny_member("bk-tiny")])
    assert stages(study)["label"] == 2
    for arch in (tiny_member("bk-small"), tiny_member("bk-tiny")):
        label = measured(arch, 100.0, 1.0)
        study.labels.write(label.model_copy(update={"protocol_key": study.protocol_key}))
    found = stages(study)
    assert (found["label"], found["measure"]) == (0, 4)
    write_designs(study, [make_design(tiny_member("bk-small"), "autobuild", 1)])
    found = stages(study)
    assert (found["prepare"], found["measure"], found["remake"]) == (0, 0, 1)
    assert (found["export"], found["compare"]) == (1, 2)
    weights = study.recovered_file(tiny_member("bk-small").key)
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert stages(study)["remake"] == 0


def test_labels_that_come_with_the_tiny_teacher_are_not_to_do(tmp_path: Path) -> None:
    study = create_study(tmp_path / "study", build={"methods": ["random"], "top": 1}).folder
    assert (stages(study)["label"], stages(study)["measure"]) == (0, 1)


def test_designs_to_come_are_the_largest_that_the_budget_allows(study: StudyFolder) -> None:
    from sdsearch.study import load_meter

    (recovered,) = next(task for task in list_tasks(study) if task.stage == "recover").architectures
    meter = load_meter(study)
    params = meter.member(recovered)["params"]
    assert 0.5 < params / meter.member(UNPRUNED)["params"] <= 0.6


@pytest.fixture
def learning(tmp_path: Path) -> StudyFolder:
    """A study whose teacher has to learn to inpaint first."""
    told = SMALL + f"[teacher]\npipeline = {str(WORDS)!r}\ninpaint = true\n"
    return make_study(tmp_path / "learning", told + "tuning = { steps = 3, batch_size = 2 }\n")


def test_a_teacher_that_is_to_learn_is_the_first_thing_to_do(learning: StudyFolder) -> None:
    assert next(iter(stages(learning).items())) == ("tune", 1)
    learning.teacher_dir.mkdir()
    said = describe_tuning(learning.config, "words").model_dump_json()
    (learning.teacher_dir / TUNING).write_text(said)
    assert "tune" not in stages(learning)


def test_learning_to_inpaint_needs_no_memory_for_a_teacher_that_answers(
    learning: StudyFolder,
) -> None:
    work = describe_work(learning, "cuda")
    assert work.parts.backbone.in_channels == 9
    cut = Cut(checkpointing=False, micro_batch=2)
    asking = recover_phases(UNPRUNED, work, cut)
    alone = recover_phases(UNPRUNED, replace(work, long=learning.config.teacher.tuning), cut)
    assert "teacher" in asking["recovery"].kept
    assert alone.keys() == {"recovery", "images to latents"}
    assert not any("teacher" in phase.kept for phase in alone.values())
    assert alone["recovery"].total < asking["recovery"].total


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_teacher_that_is_to_learn_has_its_row_with_memory_disk_and_time(
    learning: StudyFolder,
) -> None:
    plan = plan_study(learning, list_tasks(learning), CPU)
    tune = plan.needs[0]
    assert (tune.stage, tune.times, tune.fits) == ("tune", 1, True)
    assert tune.seconds
    assert plan.seconds is not None
    assert plan.seconds > tune.seconds
    # Weights, two moments and an average, twice for a moment; and the folder.
    assert tune.disk > 8 * 4 * count_params(UNPRUNED, load_space(learning).backbone)
    assert "tune" in {proposal.stage for proposal in plan.proposals}
    assert "the teacher learns to inpaint" in describe_plan(plan)


@pytest.mark.slow
def test_what_cannot_be_tuned_in_the_memory_at_hand_is_refused(
    learning: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settle_tuning(learning, CPU) == learning
    monkeypatch.setattr(settling, "host_memory", lambda: 10**7)
    with pytest.raises(InputError, match="tune must fit into memory"):
        settle_tuning(learning, CPU)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_plan_says_memory_disk_and_time_of_every_stage(study: StudyFolder) -> None:
    plan = plan_study(study, list_tasks(study), CPU)
    assert [need.stage for need in plan.needs] == [
        "probe",
        "prepare",
        "label",
        "search",
        "measure",
        "compare",
        "export",
        "recover",
    ]
    for need in plan.needs:
        assert need.fits
        assert need.device is None
        assert need.host.total > 10**8
        assert need.seconds is not None
        assert need.seconds > 0
    assert plan.seconds == sum(need.seconds or 0 for need in plan.needs[:-1])
    assert {proposal.gigabytes for proposal in plan.proposals} == {8, 12, 16, 24}
    assert all(proposal.fits and not proposal.lines for proposal in plan.proposals)
    assert plan.problems == ()
    said = describe_plan(plan)
    assert "what all labels share" in said
    assert "recover one design" in said
    assert "removals of a probe" in said
    assert "\n".join(said.splitlines()) == said
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.slow
def test_what_does_not_fit_is_said_and_not_tried(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdsearch_eval.planning.settling.host_memory", lambda: 10**7)
    monkeypatch.setattr("sdsearch_eval.planning.study.measure_speeds", None)
    plan = plan_study(study, list_tasks(study), CPU)
    assert not all(need.fits for need in plan.needs)
    assert plan.seconds is None
    assert all(need.seconds is None for need in plan.needs)
    assert "does not fit" in describe_plan(plan)


@pytest.mark.slow
def test_a_disk_that_is_too_small_is_a_problem(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sdsearch_eval.planning.study.free_disk", lambda _: 1000)
    monkeypatch.setattr("sdsearch_eval.planning.settling.host_memory", lambda: 10**8)
    plan = plan_study(study, list_tasks(study), CPU)
    (problem,) = plan.problems
    assert "GB of disk" in problem
    assert "top in [build]" in problem
    assert problem in describe_plan(plan)


@pytest.mark.slow
def test_a_label_that_only_designs_need_gets_settings_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = create_study(tmp_path / "study", build={"methods": ["random"], "top": 1}).folder
    monkeypatch.setattr("sdsearch_eval.planning.settling.host_memory", lambda: 10**7)
    plan = plan_study(study, list_tasks(study), CPU)
    assert {proposal.stage for proposal in plan.proposals} == {"label", "recover"}


def test_work_that_fits_is_left_as_it_is(study: StudyFolder) -> None:
    assert settle_labels(study, [tiny_member("bk-small")], CPU) == study
    assert not (study.root / "plan").exists()


@pytest.mark.slow
def test_little_memory_cuts_steps_once_for_all_workers(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch = tiny_member("bk-small")
    room = 0
    for room in range(40, 400, 4):
        monkeypatch.setattr(settling, "find_room", lambda _, room=room: room * 10**6)
        try:
            found = settle_recovery(study, arch, CPU).config.machine
        except InputError:
            continue
        break
    assert found.gradient_checkpointing is True
    assert found.micro_batch <= 2
    monkeypatch.setattr(settling, "describe_work", None)  # it is kept, and not counted again
    assert settle_recovery(study, arch, CPU).config.machine == found


def test_what_cannot_fit_is_refused_with_the_largest_parts_and_a_next_step(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "host_memory", lambda: 10**7)
    with pytest.raises(InputError, match=r"label must fit into memory, but .* needs") as refused:
        settle_labels(study, [tiny_member("bk-small")], CPU)
    assert "no setting makes it fit" in str(refused.value)
    assert "at work" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[ranker]\ntarget = "-log(no_such)"\n', "no_such"),
        ("[build]\nbudget = { params = 10 }\n", "budget"),
        ("[build]\nbudget = { latency_ms = 3.0 }\n", "latency"),
        ("[space]\nlabels = 100000000\n", "100,?000,?000|100000000"),
        ('[report]\npreset = "coco"\n', "preset must be one of"),
    ],
)
def test_what_would_be_refused_later_is_found_before_the_first_label(
    text: str, said: str, tmp_path: Path
) -> None:
    from re import search

    (problem,) = find_problems(make_study(tmp_path / "study", text))
    assert search(said, problem), problem
