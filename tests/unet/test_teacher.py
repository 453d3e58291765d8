from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.pipelines import open_pipeline
from sdsearch.unet.backbone import SD2
from sdsearch.unet.config import unet_config
from sdsearch.unet.teacher import teacher_backbone, teacher_sha256
from tests.unets import TEACHER

if TYPE_CHECKING:
    from pathlib import Path

INDEX = '{"_class_name": "StableDiffusionInpaintPipeline"}'


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("unet/diffusion_pytorch_model.safetensors", True),
        ("vae/diffusion_pytorch_model.safetensors", True),
        ("vae/config.json", True),
        ("tokenizer/merges.txt", True),
        ("scheduler/scheduler_config.json", True),
        ("README.md", False),
        ("unet/notes.txt", False),
        ("unet/diffusion_pytorch_model.fp16.safetensors", False),  # the whole one is there
    ],
)
def test_the_hash_of_a_teacher_follows_the_files_that_are_loaded_and_no_others(
    tmp_path: Path, name: str, counts: bool
) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(asset_path(TINY_TEACHER), folder)
    before = teacher_sha256(open_pipeline(str(folder)))
    assert before == teacher_sha256(open_pipeline("tiny"))
    with (folder / name).open("ab") as file:
        file.write(b" ")
    assert (teacher_sha256(open_pipeline(str(folder))) != before) == counts


def test_a_decoder_that_is_replaced_by_a_bin_file_is_another_teacher(tmp_path: Path) -> None:
    folder = tmp_path / "teacher"
    shutil.copytree(asset_path(TINY_TEACHER), folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    weights.unlink()
    found = set()
    for shift in (0.0, 1.0):
        state["decoder.conv_in.bias"] = state["decoder.conv_in.bias"] + shift
        torch.save(state, weights.with_suffix(".bin"))
        found.add(teacher_sha256(open_pipeline(str(folder))))
    assert len(found) == 2


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def test_of_a_hub_id_only_the_config_is_needed(hub_cache: Path) -> None:
    repository = hub_cache / "models--owner--model"
    snapshot = repository / "snapshots" / ("0" * 40) / "unet"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text(json.dumps(unet_config(TEACHER, SD2)))
    assert teacher_backbone("owner/model") == SD2


def test_a_hub_id_that_cannot_be_had_says_what_to_check(hub_cache: Path) -> None:
    with pytest.raises(InputError, match=r"owner/missing.*HF_TOKEN"):
        teacher_backbone("owner/missing")


def test_a_teacher_of_another_family_is_refused_by_field(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(INDEX)
    (tmp_path / "unet").mkdir()
    config = {"_class_name": "UNet2DConditionModel", "addition_embed_type": "text_time"}
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="addition_embed_type"):
        teacher_backbone(str(tmp_path))
