"""The label stage: what is measured, retried, finished and told; a stand-in is the harness."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.errors import InputError, WorkError
from sdsearch.labels.store import label_path, read_labels, write_label
from sdsearch.stages.label import forget_failed, measure, prepare, read_statuses
from sdsearch.workers.claims import Claims
from sdsearch.workers.worker import open_claims
from tests.fakes import make_label, tiny_member

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


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    return listed_study(tmp_path, TOML, monkeypatch)


def test_all_listed_are_labelled_in_one_process_and_what_follows_is_done_once(
    study: StudyFolder,
) -> None:
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    assert (study.root / "finished").exists()
    assert [x.state for name in MEMBERS for x in attempts_at(study, name)] == ["done"] * 4
    before = {path: path.stat().st_mtime_ns for path in study.root.rglob("*.json")}
    measure(study)
    assert {path: path.stat().st_mtime_ns for path in study.root.rglob("*.json")} == before


def test_a_failed_architecture_is_a_label_and_can_be_tried_again(study: StudyFolder) -> None:
    plan(study, bk_tiny=["fail"])
    measure(study)
    assert statuses(study)[tiny_member("bk-tiny").key] == "failed"
    assert [x.reason for x in status_of(study).failed] == ["WorkError: no luck"]
    assert forget_failed(study) == 1
    measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")


def test_what_comes_after_the_last_label_is_made_up_for(study: StudyFolder) -> None:
    plan(study, finish=["killed"])
    with pytest.raises(WorkError, match="could not prepare or finish"):
        measure(study)
    assert statuses(study) == dict.fromkeys(KEYS, "ok")
    assert not (study.root / "finished").exists()
    measure(study)
    assert (study.root / "finished").exists()


def test_what_comes_after_the_last_label_depends_on_no_clock(study: StudyFolder) -> None:
    measure(study)
    (study.root / "finished").unlink()
    folder = open_claims(study, 0).folder
    for file in folder.rglob("attempt-*.json"):
        os.utime(file, (2e9, 2e9))  # as a copy, or another machine's clock, may have it
    measure(study)
    assert not (study.root / "finished").exists()
    late = Claims(folder, 2, ELSEWHERE).take(KEYS[0])  # it found the label there
    assert late is not None
    late.end("released", "it has a label")
    measure(study)
    assert not (study.root / "finished").exists()
    label_path(study, KEYS[0], study.config.protocol.key, 0).unlink()
    measure(study)
    assert (study.root / "finished").exists()


def test_some_architectures_under_another_seed_are_labelled_alone(study: StudyFolder) -> None:
    measure(study, seed=3, only=KEYS[:1])
    assert [(x.arch_key, x.seed) for x in read_labels(study)] == [(KEYS[0], 3)]
    with pytest.raises(InputError, match=f"did you mean '{KEYS[0]}'"):
        measure(study, only=[KEYS[0][:-1]])


def test_the_status_of_halving_counts_what_a_rung_has_left(study: StudyFolder) -> None:
    first = study.at_rung(0)
    for arch in map(tiny_member, MEMBERS[:3]):
        claim = open_claims(first, 0).take(arch.key)
        assert claim is not None
        write_label(first, make_label(arch, protocol_key=first.config.protocol.key, fd_efflite0=2))
        claim.end("done")
    rung, own = read_statuses(study)
    assert (rung.wanted, rung.ok, rung.waiting) == (4, 3, 1)
    assert (own.wanted, own.waiting) == (0, 0)
    last = tiny_member(MEMBERS[3])
    write_label(first, make_label(last, protocol_key=first.config.protocol.key, fd_efflite0=1))
    rung, own = read_statuses(study)
    assert (rung.ok, rung.waiting) == (4, 0)
    assert (own.wanted, own.waiting) == (1, 1)  # a quarter goes on


def test_imported_labels_ask_for_nothing_after_them(study: StudyFolder) -> None:
    measure(study)
    for file in (
        *study.claims_dir.rglob("*.json"),
        study.root / "finished",
        study.root / "started",
    ):
        file.unlink()
    measure(study)
    assert not (study.root / "started").exists()


def test_the_status_counts_what_is_left_and_how_long_it_takes(study: StudyFolder) -> None:
    plan(study, bk_small=["input"])
    with pytest.raises(InputError):
        measure(study)
    status = status_of(study)
    assert (status.ok, status.waiting, len(status.running), status.wanted) == (2, 2, 0, 4)
    assert status.seconds_per_label is not None
    assert status.eta_seconds == pytest.approx(2 * status.seconds_per_label)
    assert "2 of 4 labels are there" in status.describe()[0]
    assert "min left" in status.describe()[-1]


def test_preparing_starts_no_label(study: StudyFolder) -> None:
    prepare(study)
    assert read_labels(study) == []
    assert not study.claims_dir.exists()
    assert (study.root / "started").exists()


def test_an_executor_that_is_not_installed_is_said(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"sdsearch\[ray\]"):
        measure(study, executor="ray")


def test_a_rung_on_which_all_failed_is_told_by_the_status(study: StudyFolder) -> None:
    first = study.at_rung(0)
    for arch in map(tiny_member, MEMBERS):
        key = first.config.protocol.key
        write_label(first, make_label(arch, protocol_key=key, status="failed", reason="no luck"))
    claim = open_claims(first, 0).take(KEYS[0])
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
        ["--json"],
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], study: StudyFolder
) -> None:
    done = CliRunner().invoke(app, ["label", str(study.root), *options])
    assert isinstance(done.exception, InputError)
    assert "go together" in str(done.exception) or "goes with" in str(done.exception)
    assert not (study.root / "started").exists()
