"""A study that is moved or deleted while something works on it: nothing is made anew there."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from sdsearch.design.scores import SpaceScores
from sdsearch.errors import InputError, WorkError
from sdsearch.files import FolderGoneError, make_folder, write_atomic
from sdsearch.labels.content import ResolvedProtocol
from sdsearch.labels.label import LabelKey
from sdsearch.labels.protocol import Protocol
from sdsearch.shell import describe_error
from sdsearch.stages.export import export_designs
from sdsearch.study.folder import write_protocols
from sdsearch.study.listing import Listing, Origin, write_sample
from sdsearch.study.locks import one_at_a_time
from sdsearch.study.records import record_done
from sdsearch.study.requests import RecoverRequest
from sdsearch.weights.notes import write_noted
from sdsearch.workers.job import LabelJob, open_claims
from sdsearch.workers.worker import Shift, work_off
from sdsearch_eval import jobs
from sdsearch_eval.bench.shards import Shards
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.jobs.workspace import only_run
from sdsearch_eval.recovery.latents import LatentFile
from sdsearch_eval.world import World
from tests.eval.desk import ask
from tests.fakes import make_design, make_study, measured, tiny_member, write_designs

ARCH = tiny_member("bk-tiny")
LABEL = measured(ARCH, 212.5, 3.0)


def lock(study):
    with one_at_a_time(study.root, "export-x"):
        raise AssertionError("it was locked")


def run_alone(study):
    with only_run(study, World()):
        raise AssertionError("it was locked")


WRITERS = {
    "a label": lambda study: study.labels.write(LABEL),
    "a label of a worker": lambda study: study.labels.publish(LABEL),
    "a repeated label": lambda study: study.repeats.write(LABEL),
    "a claim": lambda study: open_claims(study).take(ARCH.key),
    "the record of a stage": lambda study: record_done(study, "fit", {}, []),
    "the sample": lambda study: write_sample(
        study, Listing.of([(ARCH, Origin(kind="member", name="bk-tiny"))])
    ),
    "protocols": lambda study: write_protocols(study, [ResolvedProtocol(protocol=Protocol())]),
    "predictions": lambda study: SpaceScores(np.zeros(1, "f4"), np.zeros(1, "f4"), ()).save(
        study.predictions_file("space")
    ),
    "what labels share": lambda study: TensorCache(study.features_dir, {}).get(
        "inputs", lambda: {"noise": torch.zeros(1)}
    ),
    "rows": lambda study: Shards(study.rows_dir(ARCH.key) / "abc", 1).write(
        0, {"psnr": np.zeros(1)}
    ),
    "kept weights": lambda study: write_noted(study.recovered_file(ARCH.key), b"weights", "test"),
    "a folder of long recovery": lambda study: study.make(study.finetuned_dir(ARCH.key)),
    "latents": lambda study: LatentFile(
        study.features_dir / "latents-abc.bin", 1, 1, (4, 8, 8), is_masked=False
    ).make(),
    "exports": lambda study: study.make(study.pipelines_dir),
    "an export's lock": lock,
    "the lock of a recovery": run_alone,
}


@pytest.mark.parametrize("what", WRITERS)
def test_nothing_is_made_anew_where_a_study_was(what, tmp_path):
    study = make_study(tmp_path / "study")
    study.root.rename(tmp_path / "moved")
    with pytest.raises(FolderGoneError):
        WRITERS[what](study)
    assert [place.name for place in tmp_path.iterdir()] == ["moved"]


class Mover:
    """A labeller during whose work the study is moved."""

    def __init__(self, study, place):
        self.study, self.place = study, place

    def label(self, *_):
        self.study.root.rename(self.place)
        return LABEL

    def pause(self, seconds):
        raise AssertionError("there is nobody to wait for")

    def tidy(self, arch_key):
        """There is nothing to tidy."""


def test_a_worker_that_begins_when_its_study_is_gone_makes_nothing(tmp_path):
    study = make_study(tmp_path / "study")
    study.root.rename(tmp_path / "moved")
    with pytest.raises(FolderGoneError):
        LabelJob(study, (ARCH.key,)).open_shift()
    assert [place.name for place in tmp_path.iterdir()] == ["moved"]


def test_a_worker_stops_and_says_so_when_its_study_is_moved(tmp_path):
    study = make_study(tmp_path / "study")
    shift = Shift(study.series, study.labels, open_claims(study), attempts=3)
    with pytest.raises((OSError, WorkError)) as ended:
        work_off(shift, [ARCH.key], Mover(study, tmp_path / "moved"), lambda *_: None)
    said = describe_error(ended.value)
    assert "moved or deleted" in said
    assert str(study.root) in said
    assert said.endswith("run again where it is now")
    assert [place.name for place in tmp_path.iterdir()] == ["moved"]
    assert LabelKey(ARCH.key, study.series) not in make_study(tmp_path / "moved").labels


def test_a_job_of_the_harness_whose_study_is_moved_says_so(tmp_path, monkeypatch, capsys):
    study = make_study(tmp_path / "study")

    def move(_):
        study.root.rename(tmp_path / "moved")
        (study.root / "recovered" / "log.jsonl").open("a")

    monkeypatch.setattr(jobs, "recover_architectures", move)
    assert ask(RecoverRequest(study=study.root, arch_keys=(ARCH.key,)), tmp_path) == 1
    (last,) = capsys.readouterr().err.splitlines()
    assert "moved or deleted" in last
    assert last.endswith(f"{study.root}; run again where it is now")


def test_an_export_whose_study_is_moved_says_so(tmp_path, monkeypatch):
    study = make_study(tmp_path / "study")
    write_designs(study, [make_design(ARCH, "autobuild", 1)])

    def move(*_):
        study.root.rename(tmp_path / "moved")
        (study.root / "pipelines" / "model_index.json").write_text("{}")

    monkeypatch.setattr("sdsearch.export.recover_missing", lambda *_: None)
    monkeypatch.setattr("sdsearch.export.export_pipeline", move)
    with pytest.raises(FolderGoneError, match=re.escape(f"'{study.root}'")):
        export_designs(study)
    assert [place.name for place in tmp_path.iterdir()] == ["moved"]


def test_folders_are_made_below_a_home_that_is_there(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "c.json", "{}", tmp_path)
    assert (tmp_path / "a" / "b" / "c.json").read_text() == "{}"
    with pytest.raises(FolderGoneError, match="nothing more is written"):
        make_folder(tmp_path / "gone" / "a", tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
    assert not issubclass(FolderGoneError, InputError)
