from __future__ import annotations

import pytest

from sdsearch.labels.protocol import Protocol
from sdsearch.labels.store import read_floors
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.bench import floors
from sdsearch_eval.bench.bench import prepare_bench
from sdsearch_eval.bench.floors import measure_autoencoder, measure_reseeded, write_floors
from sdsearch_eval.bench.rows import measure_images
from sdsearch_eval.sampling.generation import generate


@pytest.fixture(scope="module")
def bench(teacher, small, tmp_path_factory):
    return prepare_bench(small, 0, teacher, tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def made(bench):
    unet = bench.teacher.student(UNPRUNED)
    return generate(unet, bench.teacher, bench.inputs, bench.samples, bench.protocol)


def test_the_autoencoder_alone_is_nearer_to_the_originals_than_the_teacher(bench, made):
    floor, teacher = measure_autoencoder(bench), measure_images(made.composited, bench)
    assert floor["psnr_hole"].value > teacher["psnr_hole"].value + 3
    assert floor["lpips_like_efflite0"].value < teacher["lpips_like_efflite0"].value


def test_the_teacher_under_other_noise_is_not_itself_and_keeps_the_known_pixels(bench, made):
    reseeded = measure_reseeded(bench)
    assert reseeded["latent_mse_vs_teacher"].value > 0
    assert reseeded["fd_vs_teacher"].value > 0
    assert measure_images(made.composited, bench)["fd_vs_teacher"].value == pytest.approx(0)
    assert reseeded["psnr_full"].value > reseeded["psnr_hole"].value


def test_floors_are_measured_once_for_a_teacher_and_its_samples(bench, tmp_path, monkeypatch):
    path = tmp_path / "floors.json"
    calls = []
    measured = measure_autoencoder(bench)
    monkeypatch.setattr(floors, "measure_autoencoder", lambda b: calls.append("a") or measured)
    monkeypatch.setattr(floors, "measure_reseeded", lambda b: calls.append("t") or measured)
    write_floors(bench, path)
    write_floors(bench, path)
    assert calls == ["a", "t"]
    found = read_floors(path)
    assert set(found.rows) == {"autoencoder", "teacher reseeded"}
    path.write_text(found.model_copy(update={"of": "another teacher"}).to_json())
    write_floors(bench, path)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("change", "nfe"), [({}, 2), ({"guidance": 2.0}, 4), ({"scheduler": "pndm", "steps": 4}, 5)]
)
def test_evaluations_of_the_unet_are_counted_not_assumed(teacher, bench, change, nfe):
    protocol = Protocol(**{**bench.protocol.model_dump(), **change})
    unet = teacher.student(UNPRUNED)
    made = generate(unet, teacher, bench.inputs, bench.samples, protocol)
    assert made.nfe == nfe
    assert not unet._forward_hooks


def test_a_label_says_how_and_on_what_it_was_measured(bench):
    record = bench.provenance
    assert record["sampling"]["scheduler"] == "DDIMScheduler"
    assert record["sampling"]["scheduler_config"]["prediction_type"] == "v_prediction"
    assert record["sampling"]["scheduler_config"]["clip_sample"] is False
    assert record["sampling"]["noise_schedule"]["rescale_betas_zero_snr"] is True
    assert record["environment"]["threads"] >= 1
    shares = record["hole_fractions"]
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 0.95
