"""Runtimes of an export are measured as its label is, and int8 is made of recovery samples."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.labels import ONNX, ONNX_INT8, TORCH, TORCHAO, Latency, read_runtimes
from sdsearch.runtimes import export_onnx, has_torchao
from sdsearch.study.requests import RuntimesRequest
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.rows import measure_unet
from sdsearch_eval.jobs import pictures as job
from sdsearch_eval.runtimes import measuring
from sdsearch_eval.runtimes.calibration import CALIBRATION_SAMPLES, pose_questions
from sdsearch_eval.runtimes.measuring import list_candidates, measure_runtimes
from sdsearch_eval.runtimes.nets import OnnxUNet, open_torch
from tests.fakes import make_study, tiny_member
from tests.runtimes.nets import TOKENS, WIDTH, make_small, questions, write_graph

TOML = """[protocol]
samples = 8
block_size = 4
steps = 2
threads = 1
feature_size = 32
guidance = 2.0
recovery = { steps = 1, batch_size = 4 }
"""


@pytest.fixture(scope="module")
def bench(small, teacher, tmp_path_factory):
    return prepare_bench(small, 0, teacher, tmp_path_factory.mktemp("features"))


def test_questions_are_of_recovery_samples_at_timesteps_from_all_of_the_schedule(bench):
    calibrating, asked = pose_questions(bench)
    assert len(calibrating.sample) == CALIBRATION_SAMPLES
    assert len(asked.sample) == 16
    size = bench.protocol.recovery.batch_size
    assert torch.equal(calibrating.sample[:size], bench.lessons[0].model_input)
    assert torch.equal(asked.sample[:size], bench.lessons[CALIBRATION_SAMPLES // size].model_input)
    shares = np.histogram(calibrating.timestep, bins=4, range=(0, 1000))[0]
    assert shares.min() > CALIBRATION_SAMPLES / 8
    assert [len(one.timestep) for one in calibrating.each()] == [1] * CALIBRATION_SAMPLES
    assert torch.equal(calibrating.encoder_hidden_states[:size], bench.lessons[0].text)


def test_an_onnx_unet_is_called_as_a_stock_one(tmp_path):
    net = make_small()
    folder = write_graph(net, tmp_path / "unet")
    made = OnnxUNet(folder / "model.onnx", {"in_channels": 3})
    assert made.fixed_shapes == ((3, 6, 6), (TOKENS, WIDTH))
    pair = [torch.cat(rows) for rows in zip(*questions(2), strict=True)]
    with torch.no_grad():
        meant = net(pair[0], torch.tensor([7, 7]), pair[2])[0]
    (found,) = made(pair[0], torch.tensor(7), pair[2], return_dict=False)
    torch.testing.assert_close(found, meant, atol=1e-5, rtol=1e-5)


def test_a_pipeline_without_onnx_files_or_of_another_size_is_refused(bench, tmp_path):
    folder = shutil.copytree(asset_path(TINY_TEACHER), tmp_path / "pipeline")
    with pytest.raises(InputError, match="ONNX files, but there is no"):
        measure_runtimes(folder, bench, tmp_path)
    write_graph(make_small(), folder / "onnx" / "unet")
    with pytest.raises(InputError, match=r"protocol\.resolution"):
        measure_runtimes(folder, bench, tmp_path)


def test_the_calmest_round_of_each_runtime_counts(bench, monkeypatch):
    times, peaks = iter([9.0, 5.0, 4.0, 8.0, 7.0, 6.0]), iter([30, None, 20, None, 25, None])

    def spend(candidate, _):
        return measuring.Spent(
            latency=Latency(median=next(times), iqr=0.0, device="a CPU"),
            peak_bytes=next(peaks),
            file_bytes=2,
        )

    monkeypatch.setattr(measuring, "_time", spend)
    both = [measuring.Candidate(name, lambda: None, (), "torch") for name in (TORCH, ONNX)]
    found = measuring.time_rounds(both, bench)
    assert {name: one.latency.median for name, one in found.items()} == {TORCH: 4.0, ONNX: 5.0}
    assert [one.peak_bytes for one in found.values()] == [20, None]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_runtime_is_measured_as_a_label_is_and_paints_the_same_samples(tmp_path):
    study = make_study(tmp_path / "study", TOML)
    folder = shutil.copytree(asset_path(TINY_TEACHER), study.pipelines_dir / "teacher-1")
    export_onnx(folder)
    job.add_runtimes(RuntimesRequest(study=study.root, pipeline=folder))
    table = read_runtimes(folder / "runtimes.json")
    by_name = {one.name: one for one in table.runtimes}
    assert list(by_name)[:3] == [TORCH, ONNX, ONNX_INT8]
    assert (TORCHAO in by_name) == has_torchao()
    assert (TORCHAO in table.absent) != has_torchao()
    assert table.quantized.share <= 0.27
    bench = job.open_bench(study, job.open_console(job.World()), job.World())
    label = measure_unet(bench.teacher.student(tiny_member()), bench.inputs, bench)
    assert by_name[TORCH].values == label
    whole, int8 = by_name[ONNX], by_name[ONNX_INT8]
    assert whole.values["latent_mse_vs_teacher"].value < 1e-6
    assert whole.values["latent_mse_vs_teacher"].value < int8.values["latent_mse_vs_teacher"].value
    assert int8.file_bytes < 0.4 * whole.file_bytes
    assert whole.peak_bytes > 0
    rounded = table.parts[0].error
    assert 0 < rounded < 0.2
    # Rounding by hand tells what onnxruntime's kernels lose.
    _, asked = pose_questions(bench)
    nets = [
        one.open()
        for one in list_candidates(folder, open_torch(folder).config)[0]
        if one.name in (TORCH, ONNX_INT8)
    ]
    with torch.no_grad():
        meant, found = (net(*asked, return_dict=False)[0] for net in nets)
    lost = float((found - meant).square().mean().sqrt() / meant.square().mean().sqrt())
    assert lost == pytest.approx(rounded, rel=0.1)
    assert not list(study.runtimes_dir.iterdir()), "what was painted is summed up"
    assert str(tmp_path) not in (folder / "runtimes.json").read_text()
    assert json.loads((folder / "runtimes.json").read_text())["column"] == "fd_efflite0"
    kept = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert kept.keys() == open_torch(folder).state_dict().keys()
