"""The long recovery of what paints from words: 4 channels, captions, guidance; and its export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from sdsearch.export.pipeline import export_pipeline
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import BK_SDM, RecoveryLosses
from sdsearch.pipelines import open_pipeline
from sdsearch.study.config import MachineConfig
from sdsearch.study.requests import FinetuneRequest
from sdsearch.unet.teacher import teacher_identity
from sdsearch_eval.models.components import Components
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.recovery.long import CHECKPOINT, Course, Watch, finetune_student
from sdsearch_eval.recovery.progress import begin_recovery
from sdsearch_eval.recovery.sources import open_source
from sdsearch_eval.world import World
from tests.eval.desk import ask
from tests.fakes import list_members, make_design, make_study, tiny_member

WORDS = Path(__file__).parents[3] / "assets" / "worlds" / "words-16"
ARCH = tiny_member("bk-small")
PROTOCOL = Protocol(task="text-to-image", samples=6, steps=2, guidance=2.0)
RECIPE = BK_SDM.model_copy(
    update={
        "steps": 4,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "caption_dropout": 0.5,
        "ema": 0.5,
        "checkpoint_every": 2,
    }
)
TOML = f"""
[teacher]
pipeline = {str(WORDS)!r}
[space]
labels = 1
[protocol]
task = "text-to-image"
samples = 6
block_size = 3
steps = 2
guidance = 2.0
threads = 1
feature_size = 32
recovery = {{ steps = 2, batch_size = 2 }}
[export.recovery]
steps = 4
batch_size = 4
learning_rate = 1e-3
losses = {{ output = 1.0, task = 1.0, feature = 1.0 }}
caption_dropout = 0.25
ema = 0.5
"""


@pytest.fixture(scope="module")
def painter():
    return load_teacher(open_pipeline(str(WORDS)), torch.device("cpu"))


@pytest.fixture
def course(painter):
    return Course(
        of="words",
        arch=ARCH,
        teacher=painter,
        source=open_source(PROTOCOL, RECIPE, 0),
        recipe=RECIPE,
        seed=0,
        resolution=PROTOCOL.resolution,
        machine=MachineConfig(workers=0),
    )


def train(course, folder, kill_at=None):
    """The student's weights, and the losses of each step."""
    progress = begin_recovery(
        course.teacher.student(ARCH), course.recipe, folder / CHECKPOINT, course.of
    )

    def tell(step, row):
        if step == kill_at:
            raise KeyboardInterrupt

    unet = finetune_student(progress, course, folder, World(), Watch(tell, lambda *_: None))
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return unet.state_dict(), rows


def test_a_student_of_four_channels_learns_all_published_losses_and_resumes_with_equal_ones(
    course, tmp_path
):
    whole, losses = train(course, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(course, tmp_path / "killed", 3)
    again, resumed = train(course, tmp_path / "killed")
    assert set(losses[0]) == {"step", "loss", "output", "task", "feature"}
    assert resumed == losses
    assert whole["conv_in.weight"].shape[1] == 4
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_captions_are_learned_and_as_many_are_dropped_as_the_recipe_says(
    course, tmp_path, monkeypatch
):
    seen, encoded = [], []
    real_text, real_images = Components.encode_text, Components.encode_images

    def encode_text(self, captions):
        seen.extend(captions)
        return real_text(self, captions)

    def encode_images(self, images):
        encoded.append(len(images))
        return real_images(self, images)

    monkeypatch.setattr(Components, "encode_text", encode_text)
    monkeypatch.setattr(Components, "encode_images", encode_images)
    recipe = RECIPE.model_copy(
        update={"steps": 2, "batch_size": 8, "losses": RecoveryLosses(output=1.0)}
    )
    train(replace(course, recipe=recipe), tmp_path)
    assert encoded == [8] * 2, "no image is masked: each is encoded once"
    kept = [caption for caption in seen if caption]
    assert 4 <= len(kept) <= 12
    assert len(set(kept)) > 3
    assert all(" " in caption for caption in kept)


@pytest.mark.slow
def test_the_exported_design_is_a_stock_pipeline_with_the_long_recovery_in_it(tmp_path):
    study = make_study(tmp_path / "study", TOML)
    list_members(study, [ARCH])
    assert ask(FinetuneRequest(study=study.root, arch_key=ARCH.key), tmp_path) == 0
    place = study.finetuned_dir(ARCH.key)
    values = json.loads((place / "values.json").read_text())
    apart = [values[when]["latent_mse_vs_teacher"]["value"] for when in ("before", "after")]
    assert apart[1] < apart[0]
    assert (place / "step-000004.png").is_file()
    design = make_design(ARCH, "autobuild", 1)
    folder = export_pipeline(design, study, teacher_identity(str(WORDS)))
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    meant, found = load_file(place / "weights.safetensors"), pipeline.unet.state_dict()
    assert all(torch.equal(found[name], meant[name]) for name in meant)
    assert "recovery of 4 steps" in (folder / "README.md").read_text()
    image = pipeline(
        "a red house by a lake",
        height=64,
        width=64,
        num_inference_steps=2,
        guidance_scale=2.0,
        output_type="np",
    ).images[0]
    assert image.shape == (64, 64, 3)
    assert image.std() > 0.02
