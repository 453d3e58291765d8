from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import InputError
from sdsearch.unet.backbone import SD2
from sdsearch.unet.config import unet_config
from sdsearch.unet.teacher import teacher_backbone, teacher_sha256
from tests.unets import TEACHER

if TYPE_CHECKING:
    from pathlib import Path

INDEX = '{"_class_name": "StableDiffusionInpaintPipeline"}'


def test_the_hash_of_a_teacher_follows_weights_and_configs_and_nothing_else(
    tmp_path: Path,
) -> None:
    for component in ("unet", "vae"):
        (tmp_path / component).mkdir()
        (tmp_path / component / "config.json").write_text("{}")
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(b"1")
    first = teacher_sha256(tmp_path)
    (tmp_path / "README.md").write_text("words")
    assert teacher_sha256(tmp_path) == first
    weights.write_bytes(b"2")
    second = teacher_sha256(tmp_path)
    (tmp_path / "vae" / "config.json").write_text("[]")
    assert len({first, second, teacher_sha256(tmp_path)}) == 3


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
