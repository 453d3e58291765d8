from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.ceilings import Ceiling, Halves, Measuring
from benchmarks.device_watch import DeviceWatch
from benchmarks.full_size import Spent, choose_design, show_stages
from benchmarks.gpu_report import Report, show_ceilings, show_costs
from benchmarks.label_limit import LabelCosts, Limit, find_limit
from benchmarks.random_study import (
    find_geometry,
    random_unet,
    randomize,
    write_photos,
    write_pipeline,
)
from sdsearch.labels import Protocol, RecoveryRecipe
from sdsearch.pipelines import open_pipeline
from sdsearch.stages.sample import sample_study
from sdsearch.study import read_listing
from sdsearch.unet import TINY, UNPRUNED, count_params
from sdsearch_eval.models import load_teacher
from sdsearch_eval.sampling import images_to_tensor
from tests.fakes import make_study

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")
RATES = (
    Ceiling("teacher forward", "float16", 16, 305.0, 2_900_000_000),
    Ceiling("design forward", "float32", 16, 43.0, None),
    Ceiling("design forward", "float16", 16, 433.0, None),
    Ceiling("training", "float32", 8, 17.0, 16_600_000_000),
    Ceiling("training", "tf32", 8, 44.5, 15_800_000_000),
    Ceiling("training", "bfloat16", 8, 51.3, 14_100_000_000),
    Ceiling("decode", "float32", 32, None, 35_000_000_000),
    Ceiling("decode", "float32", 8, 1e3 / 21.8, None),
    Ceiling("decode", "float16", 8, 1e3 / 15.3, None),
)
"""What an H100 gave for SD v1.5-inpainting."""
LABEL = Protocol(samples=256, dtype="float16", tf32=True)
RECIPE = RecoveryRecipe(steps=300, batch_size=8, precision="bfloat16")


def label_of(**recovery: object) -> Protocol:
    return LABEL.model_copy(update={"recovery": RECIPE.model_copy(update=recovery)})


def test_the_limit_of_a_label_is_its_calls_at_the_measured_rates() -> None:
    limit = find_limit(label_of(), 40, RATES)
    assert limit.sampling == pytest.approx(256 * 40 / 433)
    assert limit.recovery == pytest.approx(2400 / 51.3)
    assert limit.decoding == pytest.approx(256 * 0.0153)
    assert limit.seconds == pytest.approx(74.4, abs=0.1)


def test_the_limit_takes_the_rates_of_the_protocols_precisions() -> None:
    exact = label_of(precision="float32").model_copy(update={"dtype": "float32", "tf32": False})
    assert find_limit(exact, 40, RATES).recovery == pytest.approx(2400 / 17)
    assert find_limit(exact, 40, RATES).sampling == pytest.approx(10_240 / 43)
    tf32 = label_of(precision="float32")
    assert find_limit(tf32, 40, RATES).recovery == pytest.approx(2400 / 44.5)


def test_there_is_no_limit_without_a_rate() -> None:
    with pytest.raises(
        ValueError, match=re.escape("design forward was not measured in ('bfloat16'")
    ):
        find_limit(LABEL.model_copy(update={"dtype": "bfloat16"}), 40, RATES)
    with pytest.raises(ValueError, match="decode was not measured in any precision"):
        find_limit(LABEL, 40, [one for one in RATES if one.what != "decode"])


def test_a_rate_is_that_of_the_calls_after_the_warm_up() -> None:
    calls: list[int] = []
    found = Measuring(CPU, seconds=0, fewest=5, warm_up=3).rate(
        "call", "float32", 4, lambda: calls.append(1)
    )
    assert len(calls) == 8
    assert found.per_second is not None
    assert found.per_second > 0


def test_a_call_without_enough_memory_has_no_rate() -> None:
    def call() -> None:
        raise torch.OutOfMemoryError

    found = Measuring(CPU, seconds=0).rate("call", "float32", 4, call)
    assert found.per_second is None
    assert "out of memory" in show_ceilings([found])


def test_a_processor_has_no_half_precision() -> None:
    assert Halves.of(CPU) == Halves("float32", "float32")
    assert Halves.of(torch.device("cuda")) == Halves("float16", "bfloat16")


def test_the_full_geometry_is_that_of_stable_diffusion() -> None:
    full = find_geometry("full")
    assert (full.resolution, full.latent, full.tokens) == (512, 64, 77)
    assert count_params(UNPRUNED, full.backbone) == 859_535_364
    assert count_params(UNPRUNED, find_geometry("full", 4).backbone) == 859_520_964


def test_random_weights_keep_numbers_in_range_and_are_the_same_twice() -> None:
    first, second = (random_unet(UNPRUNED, TINY, CPU) for _ in range(2))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    latents, text = torch.ones(1, TINY.in_channels, 16, 16), torch.ones(1, 4, 64)
    output = first(latents, 500, text, return_dict=False)[0]
    assert 0.01 < output.std() < 10


def test_random_weights_are_uniform_by_fan_in_and_norms_are_plain() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(400, 300), torch.nn.LayerNorm(300))
    randomize(net, CPU)
    weight = net[0].weight
    assert weight.abs().max() <= 1 / 20
    assert weight.var() == pytest.approx(1 / 1200, rel=0.02)
    assert (net[0].bias == 0).all()
    assert (net[1].weight == 1).all()


@pytest.mark.parametrize("channels", [4, 9])
def test_a_random_pipeline_is_a_teacher_like_any_other(tmp_path: Path, channels: int) -> None:
    write_pipeline(tmp_path / "pipeline", find_geometry("tiny", channels), CPU)
    teacher = load_teacher(open_pipeline(str(tmp_path / "pipeline")), CPU)
    assert teacher.backbone.in_channels == channels
    assert torch.isfinite(teacher.encode_text(["a lake"])).all()


def test_photos_have_captions_and_the_asked_size(tmp_path: Path) -> None:
    write_photos(tmp_path, 3, 48)
    lines = (tmp_path / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    for line in lines:
        with Image.open(tmp_path / json.loads(line)["file_name"]) as photo:
            assert photo.size == (48, 48)
    assert len(lines) == len(list(tmp_path.glob("*.jpg"))) == 3


def test_the_design_is_the_largest_within_sixty_percent(tmp_path: Path) -> None:
    study = make_study(tmp_path, "[space]\nlabels = 20\n")
    sample_study(study)
    most = 0.6 * count_params(UNPRUNED, TINY)
    sizes = {count_params(arch, TINY) for arch in read_listing(study).architectures.values()}
    chosen = count_params(choose_design(study), TINY)
    assert chosen <= most
    assert not [size for size in sizes if chosen < size <= most]


def test_operations_are_told_by_module_and_device() -> None:
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with DeviceWatch() as watch:
        images_to_tensor(images)
        torch.ones(3) + 1
        torch.ones(4, 4).view(16)
    seen = {(one.module, one.device): one for one in watch.seen()}
    assert set(seen) == {("sampling/sampling.py", "cpu"), ("autograd", "cpu")}
    assert seen["sampling/sampling.py", "cpu"].operations >= 3
    assert seen["autograd", "cpu"].operations == 3, "a view is none"
    assert seen["autograd", "cpu"].bytes == 4 * (3 + 3 + 16)


def test_a_part_that_fails_is_kept_and_ends_no_other(tmp_path: Path, capsys) -> None:
    report = Report(tmp_path / "out.json")

    def fail() -> str:
        raise RuntimeError("no luck")

    assert report.add("first", fail, str) is None
    assert report.add("second", lambda: Limit(1.0, 2.0, 3.0), str) == Limit(1.0, 2.0, 3.0)
    kept = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert kept["first"] == {"failed": "RuntimeError: no luck"}
    assert kept["second"] == {"sampling": 1.0, "recovery": 2.0, "decoding": 3.0}
    assert set(kept["seconds"]) == {"first", "second"}
    assert report.failed == ["first"]
    assert "no luck" in capsys.readouterr().out


def test_the_rest_of_a_label_is_what_no_phase_counts() -> None:
    costs = LabelCosts(
        device="H100",
        preparation=90.0,
        lessons=12.5,
        seconds=80.0,
        phases={"recovery": 48.0, "sampling": 26.0},
        evaluations=40,
        repeated=0.25,
        peak=10**10,
    )
    shown = show_costs(costs)
    assert "repeated in float32: 25%" in shown
    assert "| weights, files, messages | 6.0 |" in shown
    assert "| before it, shared by all labels | 90.0, 12.5 of them for the lessons |" in shown
    assert "peak of its memory: 10.0 GB" in shown


def test_stages_are_shown_beside_what_they_may_take() -> None:
    shown = show_stages({"label": Spent(10.5, 600.4, 900.0)}, checked=True)
    assert "| label | 10.5 | 11.0 | 600 | 900 |" in shown
