from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sdsearch.errors import InputError, WorkError
from sdsearch.labels.columns import label_columns
from sdsearch.labels.costs import read_costs
from sdsearch.labels.label import Failure, Label, LabelKey
from sdsearch.stages.sample import sample_study
from sdsearch.study import read_study
from sdsearch.study.requests import GridRequest, RecoverRequest
from sdsearch_eval import __main__ as harness
from sdsearch_eval.bench import evaluate as bench_evaluate
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.confirm import confirm_label
from sdsearch_eval.bench.evaluate import evaluate_architecture, load_recovered
from sdsearch_eval.jobs import serve
from sdsearch_eval.jobs import workspace as job
from sdsearch_eval.jobs.pictures import draw_grid
from sdsearch_eval.jobs.recover import recover_architectures
from sdsearch_eval.world import World
from tests.eval.desk import ask, label_all
from tests.fakes import make_design, make_study, tiny_member, write_designs
from tests.unets import random_wide_members

TOML = """
[space]
labels = 2
[protocol]
samples = 6
block_size = 4
steps = 2
threads = 1
feature_size = 32
recovery = { steps = 2, batch_size = 2 }
"""


@pytest.fixture(scope="module")
def bench(teacher, small, tmp_path_factory):
    return prepare_bench(small, 0, teacher, tmp_path_factory.mktemp("features"))


@pytest.fixture
def study(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(job, "load_teacher", lambda *_: teacher)
    study = make_study(tmp_path / "study", TOML)
    sample_study(study)
    return study


def evaluate(arch, bench):
    """The label of an architecture and its recovered student, with files of their own."""
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        label = evaluate_architecture(arch, bench, Path(folder) / "rows", weights)
        unet = load_recovered(arch, bench, weights) if label.status == "ok" else None
    return label, unet


def without_clock(label):
    return {name: value for name, value in label.values.items() if name != "latency_ms"}


def test_a_label_holds_all_columns_with_errors_and_n(bench):
    label, unet = evaluate(tiny_member("bk-small"), bench)
    assert label.status == "ok"
    assert unet is not None
    assert label.values.keys() >= label_columns(bench.protocol), "known before it was measured"
    pixels = ("psnr", "ssim", "l1")
    for name in (
        *("fd_efflite0", "kid_efflite0", "lpips_like_efflite0"),
        *("fd_vs_teacher", "latent_mse_vs_teacher"),
        *(f"{pixel}_{where}" for pixel in pixels for where in ("hole", "full", "keep_raw")),
    ):
        assert label.values[name].n == 6, name
        assert label.values[name].se is not None, name
        assert len(label.values[name].blocks) == 3, name
    assert label.values["params"] == sum(p.numel() for p in unet.parameters())
    assert label.values["macs"] > label.values["macs_conv_linear"] > 0
    assert label.values["latency_ms"].threads >= 1
    assert set(label.provenance["seconds"]) == {
        *("inheritance", "recovery", "sampling", "metrics", "latency")
    }


def test_a_checkout_that_is_not_installed_labels_too(teacher, small, tmp_path, monkeypatch):
    known = metadata.version

    def version(name):
        if name == "sdsearch":
            raise metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr("sdsearch.study.records.version", version)
    bench = prepare_bench(small, 0, teacher, tmp_path)
    assert bench.provenance["versions"]["sdsearch"] == "not installed"


@pytest.mark.slow
def test_labels_are_the_same_twice_and_after_a_restart(bench, teacher, small, tmp_path):
    arch = tiny_member("bk-tiny")
    first, _ = evaluate(arch, bench)
    second, _ = evaluate(arch, bench)
    restarted, _ = evaluate(arch, prepare_bench(small, 0, teacher, tmp_path))
    assert without_clock(first) == without_clock(second) == without_clock(restarted)
    other, _ = evaluate(arch, prepare_bench(small, 1, teacher, tmp_path))
    assert without_clock(other) != without_clock(first)


def test_a_narrow_member_is_labelled_like_any_other(bench):
    arch = random_wide_members(6, seed=3)[2]
    label, unet = evaluate(arch, bench)
    assert label.status == "ok", str(label.failure)
    assert label.arch_key == arch.key
    assert unet.config.block_out_channels[1] == arch.widths[1] < 64
    assert label.values["params"] == sum(p.numel() for p in unet.parameters())


def test_members_of_a_four_channel_teacher_are_labelled_too(teacher, small, tmp_path):
    state = {**teacher.unet_state}
    state["conv_in.weight"] = state["conv_in.weight"][:, :4].contiguous()
    backbone = teacher.backbone.model_copy(update={"in_channels": 4})
    four = replace(teacher, backbone=backbone, unet_state=state, sha256="4" * 64)
    label, unet = evaluate(tiny_member("bk-tiny"), prepare_bench(small, 0, four, tmp_path))
    assert label.status == "ok", str(label.failure)
    assert unet.config.in_channels == 4
    assert label.values["params"] == sum(p.numel() for p in unet.parameters())


def test_the_unpruned_member_is_its_own_teacher(bench):
    label, _ = evaluate(tiny_member(), bench)
    assert label.scalar("latent_mse_vs_teacher") == pytest.approx(0, abs=1e-10)
    assert label.scalar("fd_vs_teacher") == pytest.approx(0, abs=1e-6)
    assert "recovery" not in label.provenance["seconds"]


@pytest.mark.parametrize("error", [WorkError("no luck"), RuntimeError("out of memory")])
def test_an_architecture_that_fails_becomes_a_label_with_its_reason(bench, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("sdsearch_eval.bench.evaluate.generate", fail)
    label, unet = evaluate(tiny_member("bk-tiny"), bench)
    assert unet is None
    assert label.status == "failed"
    assert str(error) in str(label.failure)
    assert label.values["params"] > 0


def test_wrong_input_is_no_failed_architecture(bench, monkeypatch):
    def fail(*_):
        raise InputError("all would fail")

    monkeypatch.setattr("sdsearch_eval.bench.evaluate.generate", fail)
    with pytest.raises(InputError):
        evaluate(tiny_member("bk-tiny"), bench)


@pytest.mark.slow
def test_the_queue_goes_on_after_a_failure_and_a_rerun_skips_what_is_done(study):
    real, asked = serve.evaluate_architecture, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "evaluate_architecture", fail_second(real, asked))
        label_all(study)
    labels = study.labels.read_all()
    assert len(labels) == len(asked) == 6
    assert [label.status for label in labels].count("failed") == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            serve, "evaluate_architecture", lambda *_, **__: pytest.fail("measured again")
        )
        label_all(study)


def fail_second(real, asked):
    def evaluate(arch, *rest, **how):
        asked.append(arch.key)
        label = real(arch, *rest, **how)
        if len(asked) == 2:
            failure = Failure(kind="architecture", message="no luck")
            failed = {"status": "failed", "failure": failure, "values": {}}
            return Label.model_validate({**label.model_dump(), **failed})
        return label

    return evaluate


@pytest.mark.slow
def test_a_killed_queue_goes_on_and_ends_with_the_same_labels(study, tmp_path, teacher):
    whole = make_study(tmp_path / "whole", TOML)
    sample_study(whole)
    label_all(whole)
    real, count = serve.evaluate_architecture, []

    def evaluate_then_die(arch, *rest, **how):
        count.append(arch.key)
        if len(count) == 3:
            raise KeyboardInterrupt
        return real(arch, *rest, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "evaluate_architecture", evaluate_then_die)
        with pytest.raises(KeyboardInterrupt):
            label_all(study)
    assert len(study.labels.read_all()) == 2
    label_all(study)
    ours, theirs = study.labels.read_all(), whole.labels.read_all()
    assert [without_clock(label) for label in ours] == [without_clock(label) for label in theirs]


def test_designs_keep_their_recovered_weights_and_are_compared(study):
    arch = tiny_member("bk-tiny")
    write_designs(study, [make_design(arch, "autobuild", 1)])
    label_all(study, arch.key)
    assert study.recovered_file(arch.key).is_file()
    assert LabelKey(arch.key, study.series) in study.labels
    columns = {"teacher": tiny_member().key, "best = 1": arch.key}
    draw_grid(GridRequest(study=study.root, columns=columns, rows=3))
    with Image.open(study.compare_dir / "grid.png") as picture:
        assert picture.width > 4 * 160
    described = json.loads((study.compare_dir / "comparison.json").read_text())
    assert [column["name"] for column in described["columns"]] == ["teacher", "best = 1"]
    assert len(described["rows"]) == 3
    costs = read_costs(study.compare_dir / "comparison.json")
    assert [cost.name for cost in costs] == ["teacher", "best = 1"]
    assert all(cost.picture.seconds * 1e3 > cost.latency_ms.median for cost in costs)


def test_recovered_weights_are_the_same_whenever_they_are_made(study):
    arch = tiny_member("bk-tiny")
    write_designs(study, [make_design(arch, "autobuild", 1)])
    label_all(study, arch.key)
    path = study.recovered_file(arch.key)
    kept = path.read_bytes()
    path.unlink()
    recover_architectures(RecoverRequest(study=study.root, arch_keys=(arch.key,)))
    assert path.read_bytes() == kept


def test_kept_weights_with_a_flipped_bit_are_made_again(study):
    arch = tiny_member("bk-tiny")
    write_designs(study, [make_design(arch, "autobuild", 1)])
    label_all(study, arch.key)
    path = study.recovered_file(arch.key)
    kept = path.read_bytes()
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    recover_architectures(RecoverRequest(study=study.root, arch_keys=(arch.key,)))
    assert path.read_bytes() == kept


@pytest.mark.slow
def test_weights_made_again_that_paint_other_images_are_measured_again(study, monkeypatch, capsys):
    arch = tiny_member("bk-tiny")
    key = LabelKey(arch.key, study.series)
    write_designs(study, [make_design(arch, "autobuild", 1)])
    label_all(study, arch.key)
    before = study.labels.read(key)
    study.recovered_file(arch.key).unlink()

    def recover_otherwise(arch, bench, _):
        unet = bench.teacher.student(arch)
        unet.conv_out.bias.data += 0.1
        return unet

    monkeypatch.setattr(bench_evaluate, "recover_architecture", recover_otherwise)
    recover_architectures(RecoverRequest(study=study.root, arch_keys=(arch.key,)))
    after = study.labels.read(key)
    assert after.scalar("fd_efflite0") != before.scalar("fd_efflite0")
    assert f"{arch.key} was measured again" in capsys.readouterr().err


def test_a_label_in_half_keeps_weights_in_half_that_paint_its_images(study):
    text = (study.root / "study.toml").read_text()
    (study.root / "study.toml").write_text(
        text.replace("[protocol]", '[protocol]\ndtype = "bfloat16"')
    )
    half = read_study(study.root)
    arch = tiny_member("bk-tiny")
    write_designs(half, [make_design(arch, "autobuild", 1)])
    label_all(half, arch.key)
    tensors = load_file(half.recovered_file(arch.key))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    bench = job.open_bench(half, job.open_console(World()), World())
    label = half.labels.read(LabelKey(arch.key, half.series))
    rows = half.rows_dir(arch.key) / bench.content
    assert confirm_label(label, bench, rows, half.recovered_file(arch.key), rows / "again") is label


def test_labels_of_another_teacher_are_not_added_to(study, teacher, monkeypatch):
    key = tiny_member().key
    label_all(study, key)
    monkeypatch.setattr(job, "load_teacher", lambda *_: replace(teacher, sha256="0" * 64))
    with pytest.raises(InputError, match="teacher_sha256"):
        label_all(study)


@pytest.mark.parametrize(
    "asked",
    [
        GridRequest(study="STUDY", columns={"x": "0" * 12}),
        GridRequest(study="STUDY", columns={"x": tiny_member().key}, rows=99),
        RecoverRequest(study="STUDY", arch_keys=("0" * 12,)),
        RecoverRequest(study="nowhere", arch_keys=("0" * 12,)),
    ],
)
def test_a_request_that_cannot_be_met_is_one_error_and_exit_code_2(study, tmp_path, capsys, asked):
    if str(asked.study) == "STUDY":
        asked = asked.model_copy(update={"study": study.root})
    assert ask(asked, tmp_path) == 2
    assert capsys.readouterr().err.count("error:") == 1


@pytest.mark.parametrize("text", ["", "{}", '{"command": "paint"}', '{"command": "recover"}', "[]"])
def test_a_request_that_is_not_one_is_one_error_and_exit_code_2(tmp_path, capsys, text):
    file = tmp_path / "request.json"
    file.write_text(text)
    assert harness.main([str(file)]) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert harness.main([]) == 2
    assert harness.main([str(tmp_path / "none.json")]) == 2
