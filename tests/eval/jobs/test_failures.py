"""What the harness must survive, one test or more for each kind of failure.

Kills, dead ranks, other world sizes, second jobs and too little memory are in `test_processes.py`;
broken pictures in `test_photos.py`, broken masks in `test_masks.py`.
"""

from __future__ import annotations

import errno
import json
import shutil
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.labels.columns import label_columns
from sdsearch.study.requests import RecoverRequest
from sdsearch.weights.notes import origin_of, write_noted
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.evaluate import (
    Stopwatch,
    evaluate_architecture,
    has_recovered,
    write_recovered,
)
from sdsearch_eval.bench.outliers import find_outliers
from sdsearch_eval.jobs import serve
from sdsearch_eval.jobs import workspace as job
from sdsearch_eval.metrics.distances import frechet_distance, kernel_distance
from sdsearch_eval.sampling import generation
from sdsearch_eval.sampling.sampling import NotFiniteError
from sdsearch_eval.world import World
from tests.eval.desk import ask, label_all
from tests.eval.jobs.test_processes import KEY, TOML, make_study, write_list
from tests.fakes import make_label, tiny_member
from tests.unets import random_members

ARCH = tiny_member("bk-tiny")


@pytest.fixture(scope="module")
def bench(teacher, small, tmp_path_factory):
    return prepare_bench(small, 0, teacher, tmp_path_factory.mktemp("features"))


@pytest.fixture
def study(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(job, "load_teacher", lambda *_: teacher)
    made = make_study(tmp_path / "study", TOML)
    write_list(made)
    return made


def label_of(bench, folder):
    label = evaluate_architecture(ARCH, bench, folder / "rows", folder / "weights.safetensors")
    assert label is not None
    return label


@given(st.integers(1, 9), st.integers(0, 40))
def test_every_block_is_worked_on_by_exactly_one_of_any_number_of_processes(size, count):
    blocks = list(range(count))
    shares = [World(rank, size).mine(blocks) for rank in range(size)]
    assert sorted(block for share in shares for block in share) == blocks


@pytest.mark.parametrize("samples", [2, 5])
def test_few_samples_and_a_last_block_that_is_not_full_are_labelled(
    samples, teacher, small, tmp_path
):
    few = small.model_copy(update={"samples": samples, "block_size": 4})
    label = label_of(prepare_bench(few, 0, teacher, tmp_path / "features"), tmp_path)
    assert label.status == "ok", str(label.failure)
    assert label.values["psnr_hole"].n == samples


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_fail_the_label_and_never_enter_a_mean(
    value, bench, tmp_path, monkeypatch
):
    weights = tmp_path / "weights.safetensors"
    write_recovered(ARCH, bench, weights, Stopwatch())
    state = load_file(weights)
    state["conv_out.bias"][0] = value
    write_noted(weights, save(state), origin_of(weights))
    label = label_of(bench, tmp_path)
    assert label.status == "failed"
    assert "finite" in str(label.failure)


def test_images_that_are_all_the_same_fail_the_label(bench, tmp_path, monkeypatch):
    def black(tensor):
        return np.zeros((len(tensor), 64, 64, 3), np.uint8)

    monkeypatch.setattr(generation, "tensor_to_images", black)
    monkeypatch.setattr(generation, "paste_back", lambda images, samples: images)
    label = label_of(bench, tmp_path)
    assert label.status == "failed"
    assert "all are the same" in str(label.failure)


def test_half_precision_that_overflows_is_sampled_again_in_float32(
    teacher, small, tmp_path, monkeypatch
):
    half = small.model_copy(update={"dtype": "bfloat16"})
    bench = prepare_bench(half, 0, teacher, tmp_path / "features")
    real, seen = generation.sample_latents, []

    def sample_latents(unet, inputs, *rest, **options):
        seen.append(unet.dtype)
        if len(seen) == 1:
            raise NotFiniteError("overflow")
        return real(unet, inputs, *rest, **options)

    monkeypatch.setattr(generation, "sample_latents", sample_latents)
    label = label_of(bench, tmp_path)
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]
    assert label.status == "ok", str(label.failure)
    assert label.values["fp32_retry"].value == pytest.approx(4 / 6)
    assert label.values.keys() >= label_columns(half)
    assert label.values["latency_ms"].dtype == "bfloat16"


@pytest.mark.parametrize("spoil", ["missing key", "other shape"])
def test_weights_that_do_not_fit_fail_the_label_and_the_queue_goes_on(spoil, bench, tmp_path):
    weights = tmp_path / "weights.safetensors"
    write_recovered(ARCH, bench, weights, Stopwatch())
    state = load_file(weights)
    if spoil == "missing key":
        del state["conv_in.bias"]
    else:
        state["conv_in.weight"] = state["conv_in.weight"][:, :4].contiguous()
    write_noted(weights, save(state), origin_of(weights))
    label = label_of(bench, tmp_path)
    assert label.status == "failed"
    assert "conv_in" in str(label.failure)


def test_weights_of_another_teacher_or_cut_short_are_recovered_again(bench, tmp_path):
    weights = tmp_path / "weights.safetensors"
    assert not has_recovered(ARCH, weights, bench)
    write_recovered(ARCH, bench, weights, Stopwatch())
    assert has_recovered(ARCH, weights, bench)
    whole = weights.read_bytes()
    write_noted(weights, whole, f"{ARCH.key} of another")
    assert not has_recovered(ARCH, weights, bench)
    write_recovered(ARCH, bench, weights, Stopwatch())
    weights.write_bytes(whole[:5000])
    assert not has_recovered(ARCH, weights, bench)
    assert label_of(bench, tmp_path).status == "ok"
    assert weights.read_bytes() == whole


def test_a_full_disk_loses_nothing_and_blames_no_architecture(study, monkeypatch):
    from sdsearch_eval.bench import shards

    real, written = shards.write_sealed, []

    def full(path, data, home):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        real(path, data, home)

    monkeypatch.setattr(shards, "write_sealed", full)
    with pytest.raises(OSError, match="No space left on device"):
        label_all(study)
    assert study.labels.read_all() == []
    monkeypatch.setattr(shards, "write_sealed", real)
    label_all(study)
    (label,) = study.labels.read_all()
    assert label.status == "ok"


def test_missing_weights_of_the_teacher_end_the_run_before_the_first_sample(
    tmp_path, capsys, monkeypatch
):
    pipeline = shutil.copytree(asset_path(TINY_TEACHER), tmp_path / "pipeline")
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    made = make_study(tmp_path / "study", f'[teacher]\npipeline = "{pipeline}"\n' + TOML)
    write_list(made)
    assert ask(RecoverRequest(study=made.root, arch_keys=(KEY,)), tmp_path) == 2
    assert "unet must hold weights" in " ".join(capsys.readouterr().err.split())


def test_distances_stay_sane_where_statistics_are_singular():
    rng = np.random.default_rng(0)
    few = rng.normal(size=(5, 40))  # n < d
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)
    turns = [np.linalg.qr(rng.normal(size=(40, 40)))[0] for _ in range(20)]
    assert min(frechet_distance(few @ turn, few @ turn) for turn in turns) == 0.0
    assert frechet_distance(few, few[::-1]) == pytest.approx(0, abs=1e-9)
    assert kernel_distance(few, few) == pytest.approx(0, abs=1e-9)
    signs = [
        kernel_distance(rng.normal(size=(30, 4)), rng.normal(size=(30, 4))) < 0 for _ in range(40)
    ]
    assert 5 < sum(signs) < 35


def test_a_clock_that_jumps_does_not_reach_durations(bench, tmp_path, monkeypatch):
    now = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    seconds = label_of(bench, tmp_path).provenance["seconds"]
    assert {"inheritance", "sampling", "metrics"} <= seconds.keys()
    assert all(0 <= value < 60 for value in seconds.values())


@pytest.mark.slow
def test_an_outlier_is_measured_once_more_and_both_are_kept(study, monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_outliers", lambda labels, column: labels)
    label_all(study)
    (label,) = study.labels.read_all()
    first, second = study.labels.path(label.key), study.repeats.path(label.key)
    assert "the same again" in capsys.readouterr().err
    one, two = (json.loads(path.read_text())["values"]["fd_efflite0"] for path in (first, second))
    assert one == two
    assert len(study.labels.read_all()) == 1
    stamp = second.stat().st_mtime_ns
    first.unlink()
    label_all(study)
    assert second.stat().st_mtime_ns == stamp


def test_outliers_are_far_from_the_median_of_enough_labels():
    rng = np.random.default_rng(1)
    members = random_members(14, seed=61, space="tiny")
    labels = [make_label(arch, fd_efflite0=float(np.exp(rng.normal(5, 0.1)))) for arch in members]
    assert find_outliers(labels, "fd_efflite0") == []
    far = make_label(members[3], fd_efflite0=5e5)
    assert find_outliers([*labels[:3], far, *labels[4:]], "fd_efflite0") == [far]
    assert find_outliers([far, *labels[4:8]], "fd_efflite0") == []
