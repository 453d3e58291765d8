"""Labels do not depend on how many processes there were, in which order, or how often they died."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from filelock import FileLock

from sdsearch.errors import InputError, WorkError
from sdsearch.keys import without_seal
from sdsearch.labels.label import LabelKey
from sdsearch.study.requests import RecomputeRequest
from sdsearch.workers.claims import read_attempts
from sdsearch.workers.job import open_claims
from sdsearch_eval.bench.evaluate import evaluate_architecture
from sdsearch_eval.bench.rows import IMAGE_HASH
from sdsearch_eval.bench.shards import Shards
from sdsearch_eval.jobs import workspace as job
from sdsearch_eval.jobs.recompute import recompute_labels
from sdsearch_eval.world import World, open_world
from tests.eval.desk import label_all
from tests.fakes import list_members, make_study, tiny_member

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

TOML = """
[space]
labels = 1
[protocol]
samples = 12
block_size = 3
steps = 2
threads = 1
feature_size = 32
recovery = { steps = 3, batch_size = 4 }
"""
KEY = tiny_member("bk-tiny").key


def write_list(study: StudyFolder) -> None:
    list_members(study, [tiny_member("bk-tiny")])


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    made = make_study(tmp_path / "study", TOML)
    write_list(made)
    return made


def command(study: StudyFolder, processes: int = 1) -> list[str]:
    return [
        *(sys.executable, "-m", "sdsearch", "label", str(study.root)),
        *("--processes", str(processes)),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def rows_of(study: StudyFolder) -> dict[str, Any]:
    (folder,) = study.rows_dir(KEY).iterdir()
    return Shards(folder, 4).read()


def label_file(study: StudyFolder) -> Path:
    return study.labels.path(LabelKey(KEY, study.series))


def without_clock(study: StudyFolder) -> dict[str, Any]:
    label = without_seal(json.loads(label_file(study).read_text(encoding="utf-8")))
    del label["values"]["latency_ms"], label["provenance"]["seconds"]
    return label


class Backwards(World):
    """A world whose process works on its blocks in another order."""

    def mine(self, blocks: list[int]) -> list[int]:
        return blocks[::-1]


def test_the_order_of_blocks_changes_nothing(bench, tmp_path: Path) -> None:
    labels, rows = [], []
    for name, world in (("forth", World()), ("back", Backwards())):
        folder = tmp_path / name
        label = evaluate_architecture(
            tiny_member("bk-tiny"), bench, folder, folder / "w.safetensors", world
        )
        assert label is not None
        labels.append({k: v for k, v in label.values.items() if k != "latency_ms"})
        rows.append(Shards(folder, len(bench.blocks)).read())
    assert labels[0] == labels[1]
    assert all(np.array_equal(rows[0][name], rows[1][name]) for name in rows[0])


@pytest.fixture(scope="module")
def bench(teacher, small, tmp_path_factory) -> Iterator[Any]:
    from sdsearch_eval.bench.bench import prepare_bench

    return prepare_bench(small, 0, teacher, tmp_path_factory.mktemp("features"))


def test_blocks_that_are_there_are_not_worked_on_again(bench, tmp_path, monkeypatch) -> None:
    from sdsearch_eval.bench import evaluate as harness

    weights, arch = tmp_path / "w.safetensors", tiny_member("bk-tiny")
    whole = evaluate_architecture(arch, bench, tmp_path / "rows", weights)
    (tmp_path / "rows" / "block-00001.safetensors").unlink()
    asked, real = [], harness.generate

    def generate(unet, teacher, inputs, samples, protocol):
        asked.append([sample.name for sample in samples])
        return real(unet, teacher, inputs, samples, protocol)

    monkeypatch.setattr(harness, "generate", generate)
    again = evaluate_architecture(arch, bench, tmp_path / "rows", weights)
    assert asked == [[sample.name for sample in bench.samples[bench.blocks[1]]]]
    assert whole is not None
    assert again is not None
    assert again.values["fd_efflite0"] == whole.values["fd_efflite0"]


def test_a_damaged_block_stays_until_it_is_made_again(bench, tmp_path: Path) -> None:
    weights, arch = tmp_path / "w.safetensors", tiny_member("bk-tiny")
    evaluate_architecture(arch, bench, tmp_path / "rows", weights)
    file = tmp_path / "rows" / "block-00000.safetensors"
    whole = file.read_bytes()
    shards = Shards(tmp_path / "rows", len(bench.blocks))
    file.write_bytes(whole[:-9])
    with pytest.raises(WorkError, match="damaged"):
        shards.read()
    assert shards.missing() == [0]
    assert file.read_bytes() == whole[:-9]
    label = evaluate_architecture(arch, bench, tmp_path / "rows", weights)
    assert label is not None
    assert label.status == "ok", str(label.failure)
    assert file.read_bytes() == whole


def test_too_few_processes_are_an_error() -> None:
    with pytest.raises(InputError, match="2 processes were asked for, but 1 run"):
        open_world(2)


def test_a_second_run_that_rewrites_labels_leaves_with_a_message(study: StudyFolder) -> None:
    with FileLock(study.root / ".lock"), pytest.raises(InputError, match="another is at work"):
        recompute_labels(RecomputeRequest(study=study.root))


def test_metrics_are_computed_again_from_rows_alone(study, teacher, monkeypatch) -> None:
    monkeypatch.setattr(job, "load_teacher", lambda *_: teacher)
    label_all(study)
    (label,) = study.labels.read_all()
    spoiled = {**label.values, "fd_efflite0": 1.0, "psnr_hole": 2.0}
    study.labels.write(label.model_copy(update={"values": spoiled}))
    monkeypatch.setattr(
        "sdsearch_eval.bench.evaluate.generate", lambda *_: pytest.fail("sampled again")
    )
    recompute_labels(RecomputeRequest(study=study.root))
    assert study.labels.read_all() == [label]


def test_a_block_too_large_for_memory_is_halved(bench, tmp_path: Path, monkeypatch) -> None:
    import torch

    from sdsearch_eval.sampling import generation

    sizes, real = [], generation.sample_latents

    def sample_latents(unet, inputs, *rest, **options):
        sizes.append(len(inputs))
        if len(inputs) > 2:
            raise torch.OutOfMemoryError("no more")
        return real(unet, inputs, *rest, **options)

    arch = tiny_member("bk-tiny")
    whole = evaluate_architecture(arch, bench, tmp_path / "whole", tmp_path / "w.safetensors")
    monkeypatch.setattr(generation, "sample_latents", sample_latents)
    halved = evaluate_architecture(arch, bench, tmp_path / "halved", tmp_path / "w.safetensors")
    assert sizes == [4, 2, 2, 2]
    assert whole is not None
    assert halved is not None
    for name in ("fd_efflite0", "psnr_hole", "lpips_like_efflite0"):
        assert halved.scalar(name) == pytest.approx(whole.scalar(name), rel=0.005)


@pytest.mark.slow
def test_two_processes_give_the_label_of_one(study: StudyFolder, tmp_path: Path) -> None:
    subprocess.run(command(study), env=environment(), check=True)
    twin = make_study(tmp_path / "twin", TOML)
    write_list(twin)
    done = subprocess.run(command(twin, 2), env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "world size 2" in done.stderr
    ours, theirs = rows_of(study), rows_of(twin)
    assert np.array_equal(ours[IMAGE_HASH], theirs[IMAGE_HASH])
    assert len(set(ours[IMAGE_HASH].tolist())) == 12
    one, two = without_clock(study)["values"], without_clock(twin)["values"]
    for name, value in one.items():
        if isinstance(value, dict):
            assert two[name]["value"] == pytest.approx(value["value"], rel=1e-9, abs=1e-12), name


@pytest.mark.slow
def test_a_label_killed_at_ten_moments_is_that_of_an_undisturbed_run(
    study: StudyFolder, tmp_path: Path
) -> None:
    begin = time.monotonic()
    subprocess.run(command(study), env=environment(), check=True, capture_output=True)
    seconds = time.monotonic() - begin
    # A label may lose three attempts by default, and be it to somebody who kills its worker.
    twin = make_study(tmp_path / "twin", TOML + "[label]\nattempts = 20\n")
    write_list(twin)
    rng, kills = random.Random(4), 0
    while kills < 10:
        process = subprocess.Popen(
            command(twin), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(rng.uniform(0.35, 1.0) * seconds)
        if process.poll() is not None:
            # It was done before it was killed: begin again with a later moment's leftovers.
            label_file(twin).unlink()
            continue
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        for file in twin.root.rglob("*.json"):
            json.loads(file.read_text(encoding="utf-8"))
    subprocess.run(command(twin), env=environment(), check=True, capture_output=True)
    assert without_clock(twin) == without_clock(study)


@pytest.mark.slow
def test_a_process_that_is_killed_counts_for_nothing_and_the_next_one_brings_the_same_label(
    study: StudyFolder, tmp_path: Path
) -> None:
    subprocess.run(command(study), env=environment(), check=True, capture_output=True)
    twin = make_study(tmp_path / "twin", TOML)
    write_list(twin)
    job = subprocess.Popen(
        command(twin, 2), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not list(twin.root.rglob("block-*.safetensors")):
        assert job.poll() is None
        time.sleep(0.05)
    psutil.Process(job.pid).children(recursive=True)[-1].kill()
    assert job.wait(timeout=180) == 0
    attempts = read_attempts(open_claims(twin).folder / KEY)
    assert [attempt.state for attempt in attempts] == ["released", "done"]
    assert np.array_equal(rows_of(twin)[IMAGE_HASH], rows_of(study)[IMAGE_HASH])
