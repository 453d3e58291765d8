"""The whole journey on the embedded pipeline under a very small protocol, killed and not killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.space.space import search_space
from sdsearch.space.summary import summarize_space
from sdsearch.stages.sample import sample_study
from sdsearch.study.folder import read_study
from sdsearch.study.listing import find_best, read_designs, read_sample

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

SMALL = """
[space]
labels = 8

[protocol]
samples = 8
block_size = 8
steps = 2
feature_size = 32
recovery = { steps = 1, batch_size = 2 }

[label]
attempts = 9  # a slow machine may be killed at the same label again and again

[build]
top = 1
budget = { params = { share = 0.60 } }
"""


def small_study(folder: Path) -> StudyFolder:
    folder.mkdir()
    (folder / "study.toml").write_text(SMALL)
    return read_study(folder)


def lend_probe(owner: StudyFolder, other: StudyFolder) -> None:
    """Give a study the probe of another one of the same settings, as if it had measured it."""
    for name in ("probe.json", "probe.svg", "stages/probe.json"):
        (other.root / name).parent.mkdir(exist_ok=True)
        shutil.copy(owner.root / name, other.root / name)


def start(study: StudyFolder) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "sdsearch", "run", str(study.root)]
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def values_of(study: StudyFolder) -> dict[str, object]:
    """All labels without what a clock measured."""
    return {
        f"{label.arch_key}-{label.seed}": {
            name: value for name, value in label.values.items() if name != "latency_ms"
        }
        for label in study.labels.read_all()
    }


def test_the_sample_is_the_same_every_time_and_holds_the_members(tmp_path: Path) -> None:
    study = small_study(tmp_path / "study")
    first = sample_study(study)
    text = study.architectures_file.read_bytes()
    assert sample_study(study) == first == read_sample(study)
    assert study.architectures_file.read_bytes() == text
    members = ["teacher", "bk-base", "bk-small", "bk-tiny"]
    assert [entry.names for entry in first] == [*([name] for name in members), *[["uniform"]] * 8]


def test_a_space_is_described_with_costs_of_its_members() -> None:
    summary = summarize_space(search_space("sd14-blocks"))
    assert summary.size == 5_632
    assert summary.members["bk-tiny"].params == 323_384_964
    assert [unit.options for unit in summary.units] == [8, 8, 8, 11]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyFolder, str]:
    study = small_study(tmp_path_factory.mktemp("journey") / "study")
    process = start(study)
    output, _ = process.communicate()
    assert process.returncode == 0, output.decode()
    return study, output.decode()


@pytest.mark.slow
def test_the_journey_prints_the_table_the_report_and_the_pipelines(
    finished: tuple[StudyFolder, str],
) -> None:
    study, output = finished
    rows = ("exhaustive", "autobuild", "one-shot", "most-macs", "random", "teacher")
    for text in (*rows, "evaluated uniform", "67 removals, "):
        assert text in output
    assert output.index("67 removals, ") < output.index("models: "), "the probe comes first"
    folded = output.replace("\n", "")
    assert str(study.report_file) in folded
    (best,) = find_best(study)
    assert str(study.pipelines_dir / best.name) in folded
    assert study.report_file.stat().st_size > 10_000
    assert (study.compare_dir / "grid.png").is_file()


@pytest.mark.slow
def test_a_second_run_measures_nothing_and_changes_no_label(
    finished: tuple[StudyFolder, str],
) -> None:
    study, _ = finished
    before = {path: path.read_bytes() for path in study.labels.folder.rglob("*.json")}
    page = study.report_file.read_bytes()
    process = start(study)
    output, _ = process.communicate()
    assert process.returncode == 0, output.decode()
    counts = re.findall(rb"models: (\d+) of (\d+) measured", output)
    assert counts
    assert all(done == total for done, total in counts)
    assert {path: path.read_bytes() for path in study.labels.folder.rglob("*.json")} == before
    assert study.report_file.read_bytes() == page


@pytest.mark.slow
def test_a_journey_killed_again_and_again_ends_with_the_same_labels_and_designs(
    finished: tuple[StudyFolder, str], tmp_path: Path
) -> None:
    study = small_study(tmp_path / "study")
    lend_probe(finished[0], study)  # killed probes: tests/benchmarks/test_kill_campaign.py
    for seconds in (2.0, 9.0, 13.0, 17.0, 21.0):
        process = start(study)
        time.sleep(seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(study)
    output, _ = process.communicate()
    assert process.returncode == 0, output.decode()
    assert values_of(study) == values_of(finished[0])
    assert read_designs(study) == read_designs(finished[0])
    assert not list(study.root.rglob("*.tmp"))


@pytest.mark.slow
def test_stock_diffusers_makes_the_same_image_from_the_export_as_the_harness(
    finished: tuple[StudyFolder, str], tmp_path: Path
) -> None:
    """The process that runs the stock pipeline cannot import sdsearch."""
    study, _ = finished
    (design,) = find_best(study)
    ours = sample_with_harness(study, design.arch_key, tmp_path / "inputs.safetensors")
    code = STOCK.format(folder=str(study.pipelines_dir / design.name), inputs=tmp_path)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    stock = np.load(tmp_path / "stock.npy")
    assert np.abs(stock.astype(int) - ours.astype(int)).max() <= 2
    assert ours.std() > 5


STOCK = """
import sys
sys.modules["sdsearch"] = sys.modules["sdsearch_eval"] = None
import numpy as np, torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from safetensors.torch import load_file
torch.set_num_threads(2)
pipe = StableDiffusionInpaintPipeline.from_pretrained({folder!r})
given = load_file("{inputs}/inputs.safetensors")
image = pipe(
    "a red house by a lake at noon, green hills",
    image=Image.fromarray(given["image"].numpy()),
    mask_image=Image.fromarray(given["mask"].numpy()),
    masked_image_latents=given["masked_latents"],
    latents=given["noise"],
    strength=1.0, height=64, width=64, num_inference_steps=4, guidance_scale=2.0,
    output_type="np",
).images[0]
np.save("stock.npy", (image * 255).round().astype(np.uint8))
"""


def sample_with_harness(study: StudyFolder, arch_key: str, inputs_file: Path) -> np.ndarray:
    """Our own image before paste-back; also writes what the stock pipeline needs to follow."""
    import torch
    from safetensors.torch import load_file, save_file

    from sdsearch.pipelines import open_pipeline
    from sdsearch_eval.data.sample import Sample
    from sdsearch_eval.models.teacher import load_teacher
    from sdsearch_eval.sampling.sampling import prepare_inputs, sample_latents, tensor_to_images
    from sdsearch_eval.scenes.scenes import render_scene

    design = next(one for one in read_designs(study) if one.arch_key == arch_key)
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 8:40] = 255
    image = render_scene(5).image
    task = Sample("one", image, "a red house by a lake at noon, green hills", mask)
    inputs = prepare_inputs(teacher, [task], 0)
    tensors = {
        "image": torch.from_numpy(image.copy()),
        "mask": torch.from_numpy(mask),
        "masked_latents": inputs.masked_latents.contiguous(),
        "noise": inputs.noise,
    }
    save_file(tensors, inputs_file)
    unet = teacher.student(design.architecture)
    unet.load_state_dict(load_file(study.recovered_file(arch_key)), strict=True)
    latents = sample_latents(unet, inputs, teacher, steps=4, guidance=2.0)
    return tensor_to_images(teacher.decode_latents(latents))[0]
