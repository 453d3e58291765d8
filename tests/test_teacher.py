from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.assets import asset_path
from sdsearch.errors import InputError
from sdsearch.teacher import resolve_teacher, teacher_sha256

if TYPE_CHECKING:
    from pathlib import Path

INDEX = '{"_class_name": "StableDiffusionInpaintPipeline"}'


def test_the_tiny_teacher_is_the_shipped_one() -> None:
    assert resolve_teacher("tiny") == asset_path("tiny-sd")


@pytest.mark.parametrize("pipeline", ["./missing", "/missing/folder", "missing", "a/b/c", ""])
def test_a_missing_teacher_folder_is_refused(pipeline: str) -> None:
    with pytest.raises(InputError, match="is no folder here"):
        resolve_teacher(pipeline)


def test_a_hub_id_is_kept_as_it_is() -> None:
    assert resolve_teacher("some-owner/some-model") == "some-owner/some-model"


@pytest.mark.parametrize("index", [None, "{}", "[]", "{"])
def test_a_folder_without_a_pipeline_index_is_refused(tmp_path: Path, index: str | None) -> None:
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(InputError, match=r"model_index\.json"):
        resolve_teacher(str(tmp_path))
    (tmp_path / "model_index.json").write_text(INDEX)
    assert resolve_teacher(str(tmp_path)) == tmp_path


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
