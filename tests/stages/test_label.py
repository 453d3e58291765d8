"""The label stage: what is measured, retried, finished and told; a stand-in is the harness."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.errors import InputError, WorkError
from sdsearch.labels.label import Failure, LabelKey
from sdsearch.stages.label import (
    forget_failed,
    halve_study,
    label_study,
    prepare_study,
    read_statuses,
)
from sdsearch.stages.recover import recover_design
from sdsearch.workers.claims import Claims
from sdsearch.workers.job import open_claims
from tests.fakes import make_design, make_label, tiny_member, write_designs

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

from tests.stand_in import (
    ELSEWHERE,
    KEYS,
    MEMBERS,
    TOML,
    attempts_at,
    listed_study,
    plan,
    status_of,
    statuses,
)

FAILURE = Failure(kind="architecture", message="no luck")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    return listed_study(tmp_path, TOML, monkeypatch)


def test_all_listed_are_labelled_in_one_process_and_what_follows_is_done_once(
    study: StudyFolder,
) -> None:
    label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    assert (study.root / "finished").exists()
    assert [x.state for name in MEMBERS for x in attempts_at(study, name)] == ["done"] * 4
    before = {path: path.stat().st_mtime_ns for path in study.root.rglob("*.json")}
    label_study(study)
    assert {path: path.stat().st_mtime_ns for path in study.root.rglob("*.json")} == before


def test_a_failed_architecture_is_a_label_and_can_be_tried_again(study: StudyFolder) -> None:
    plan(study, bk_tiny=["fail"])
    label_study(study)
    assert statuses(study)[tiny_member("bk-tiny").key] == "failed"
    assert [x.failure.message for x in status_of(study).failed] == ["WorkError: no luck"]
    assert forget_failed(study) == 1
    label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")


def test_what_comes_after_the_last_label_is_made_up_for(study: StudyFolder) -> None:
    plan(study, finish=["killed"])
    with pytest.raises(WorkError, match=r"could not finish .* was ended by SIGKILL"):
        label_study(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    assert not (study.root / "finished").exists()
    label_study(study)
    assert (study.root / "finished").exists()


def test_what_comes_after_the_last_label_depends_on_no_clock(study: StudyFolder) -> None:
    label_study(study)
    (study.root / "finished").unlink()
    folder = open_claims(study).folder
    for file in folder.rglob("attempt-*.json"):
        os.utime(file, (2e9, 2e9))  # as a copy, or another machine's clock, may have it
    label_study(study)
    assert not (study.root / "finished").exists()
    late = Claims(folder, 2, ELSEWHERE).take(KEYS[0])  # it found the label there
    assert late is not None
    late.end("released", "it has a label")
    label_study(study)
    assert not (study.root / "finished").exists()
    study.labels.remove(LabelKey(KEYS[0], study.series))
    label_study(study)
    assert (study.root / "finished").exists()


def test_some_architectures_under_another_seed_are_labelled_alone(study: StudyFolder) -> None:
    label_study(study, seed=3, only=KEYS[:1])
    assert [(x.arch_key, x.seed) for x in study.labels.read_all()] == [(KEYS[0], 3)]
    with pytest.raises(InputError, match=f"did you mean '{KEYS[0]}'"):
        label_study(study, only=[KEYS[0][:-1]])


def test_the_status_of_halving_counts_what_a_rung_has_left(study: StudyFolder) -> None:
    first = study.at_rung(0)
    for arch in map(tiny_member, MEMBERS[:3]):
        claim = open_claims(first).take(arch.key)
        assert claim is not None
        first.labels.write(make_label(arch, protocol_key=first.protocol_key, fd_efflite0=2))
        claim.end("done")
    rung, own = read_statuses(study)
    assert (rung.wanted, rung.ok, rung.waiting) == (4, 3, 1)
    assert (own.wanted, own.waiting) == (0, 0)
    last = tiny_member(MEMBERS[3])
    first.labels.write(make_label(last, protocol_key=first.protocol_key, fd_efflite0=1))
    rung, own = read_statuses(study)
    assert (rung.ok, rung.waiting) == (4, 0)
    assert (own.wanted, own.waiting) == (1, 1)  # a quarter goes on


def test_imported_labels_ask_for_nothing_after_them(study: StudyFolder) -> None:
    label_study(study)
    for file in (
        *study.claims_dir.rglob("*.json"),
        study.root / "finished",
        study.root / "started",
    ):
        file.unlink()
    label_study(study)
    assert not (study.root / "started").exists()


def test_the_status_counts_what_is_left_and_how_long_it_takes(study: StudyFolder) -> None:
    plan(study, bk_small=["input"])
    with pytest.raises(InputError):
        label_study(study)
    status = status_of(study)
    assert (status.ok, status.waiting, len(status.running), status.wanted) == (2, 2, 0, 4)
    assert status.seconds_per_label is not None
    assert status.eta_seconds == pytest.approx(2 * status.seconds_per_label)
    assert "2 of 4 models measured" in status.describe()[0]
    assert " s left: " in status.describe()[-1]


def test_preparing_starts_no_label(study: StudyFolder) -> None:
    prepare_study(study)
    assert study.labels.read_all() == []
    assert not study.claims_dir.exists()
    assert (study.root / "started").exists()


def test_an_executor_that_is_not_installed_is_said(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="run: pip install ray"):
        label_study(study, executor="ray")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"executor": "slurm"}, "executor must be one of local, ray, but is 'slurm'"),
        ({"seed": -1}, "seed must be from 0 to 4294967295, but is -1"),
        ({"seed": 2**32}, "but is 4294967296"),
        ({"processes": 0}, "processes must be 1 or more, but is 0"),
    ],
)
def test_a_wrong_value_is_said_before_any_work(
    study: StudyFolder, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        label_study(study, **arguments)
    if "seed" not in arguments:
        with pytest.raises(InputError, match=said):
            halve_study(study, **arguments)
    assert not (study.root / "started").exists()


def test_preparing_and_recovering_need_a_process(study: StudyFolder) -> None:
    write_designs(study, [make_design(tiny_member("bk-tiny"), "autobuild", 1)])
    with pytest.raises(InputError, match="processes must be 1 or more, but is 0"):
        prepare_study(study, processes=0)
    with pytest.raises(InputError, match="processes must be 1 or more, but is 0"):
        recover_design(study, "autobuild-1", processes=0)


def test_a_rung_on_which_all_failed_is_told_by_the_status(study: StudyFolder) -> None:
    first = study.at_rung(0)
    for arch in map(tiny_member, MEMBERS):
        key = first.protocol_key
        first.labels.write(make_label(arch, protocol_key=key, failure=FAILURE))
    claim = open_claims(first).take(KEYS[0])
    assert claim is not None
    claim.end("done")
    rung, own = read_statuses(study)
    assert (len(rung.failed), own.wanted) == (4, 0)


@pytest.mark.parametrize(
    "options",
    [
        ["--status", "--import", "tiny"],
        ["--halving", "--arch", "3f0c9a17b2de"],
        ["--prepare", "--retry-failed"],
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], study: StudyFolder
) -> None:
    done = CliRunner().invoke(app, ["label", str(study.root), *options])
    assert isinstance(done.exception, InputError)
    assert "cannot be combined" in str(done.exception)
    assert not (study.root / "started").exists()
