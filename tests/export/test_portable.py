from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from transformers import (
    AddedToken,
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.export.portable import (
    complete_vocabulary,
    drop_places,
    load_in_single,
    tensor_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKENIZER = asset_path(TINY_TEACHER) / "tokenizer"
SIZES: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
}
VISION: dict[str, Any] = {**SIZES, "image_size": 8, "patch_size": 4, "projection_dim": 4}
PARTS: dict[str, Callable[[], torch.nn.Module]] = {
    "text_encoder": lambda: CLIPTextModel(
        CLIPTextConfig(**SIZES, vocab_size=9, bos_token_id=7, eos_token_id=8, pad_token_id=8)
    ),
    "image_encoder": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)),
    "safety_checker": lambda: StableDiffusionSafetyChecker(
        CLIPConfig(vision_config=VISION, projection_dim=4)
    ),
}


@pytest.mark.parametrize(
    ("part", "name", "meant"),
    [
        ("text_encoder", "final_layer_norm.bias", "text_model.final_layer_norm.bias"),
        ("text_encoder", "text_model.final_layer_norm.bias", "text_model.final_layer_norm.bias"),
        ("text_encoder", "text_model.embeddings.position_ids", None),
        ("text_encoder", "text_projection.weight", None),
        (
            "safety_checker",
            "vision_model.pre_layrnorm.bias",
            "vision_model.vision_model.pre_layrnorm.bias",
        ),
        ("safety_checker", "vision_model.vision_model.encoder.layers.0.mlp.fc1.bias", None),
        ("safety_checker", "special_care_embeds", None),
        ("safety_checker", "visual_projection.weight", None),
        ("image_encoder", "embeddings.class_embedding", "vision_model.embeddings.class_embedding"),
        ("image_encoder", "vision_model.embeddings.class_embedding", None),
        ("vae", "encoder.conv_in.weight", None),
        ("unet", "encoder.layers.0.bias", None),
    ],
)
def test_names_are_those_that_releases_before_transformers_5_look_for(
    part: str, name: str, meant: str | None
) -> None:
    assert tensor_name(part, name) == (meant or name)
    assert tensor_name(part, tensor_name(part, name)) == tensor_name(part, name)


@pytest.mark.parametrize("part", PARTS)
def test_todays_loader_reads_the_older_names_in_full(part: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    made: Any = PARTS[part]()
    made.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {tensor_name(part, name): one.clone() for name, one in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    found, said = type(made).from_pretrained(tmp_path, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    meant = made.state_dict()
    assert all(torch.equal(one, meant[name]) for name, one in found.state_dict().items())


@pytest.mark.parametrize(
    "place",
    [
        {"_name_or_path": "/home/me/sd/vae"},
        {"_name_or_path": "../sdxl-vae/"},
        {"_name_or_path": "./vae"},
        {"_name_or_path": ""},
        {"name_or_path": "models/of/mine"},
        {"name_or_path": r"C:\Users\me\sd"},
        {"tokenizer_file": "/root/.cache/huggingface/tokenizer.json"},
        {"special_tokens_map_file": "~/sd/special_tokens_map.json"},
        {"cache_dir": r"D:\hub"},
    ],
)
def test_places_on_a_machine_go_wherever_they_stand(place: dict[str, str]) -> None:
    kept = {"act_fn": "silu", "sample_size": 64, "scaling_factor": 0.18215}
    assert drop_places(kept | place) == kept
    assert drop_places({"inner": [kept | place, 1]}) == {"inner": [kept, 1]}


@pytest.mark.parametrize(
    "said",
    [
        {"_name_or_path": "openai/clip-vit-large-patch14"},
        {"_name_or_path": "tiny"},
        {"bos_token": {"content": "<|startoftext|>", "lstrip": False}},
        {"unk_token": "!", "errors": "replace", "add_prefix_space": None},
        {"down_block_types": ["DownBlock2D"], "transformers_version": "4.46.3"},
    ],
)
def test_hub_ids_and_settings_stay(said: dict[str, Any]) -> None:
    assert drop_places(said) == said


@pytest.mark.parametrize(
    ("config", "single", "meant"),
    [
        ({"dtype": "float32"}, False, {"dtype": "float32"}),
        ({"torch_dtype": "float16"}, True, {"torch_dtype": "float32"}),
        ({"torch_dtype": None}, False, {"torch_dtype": "float32"}),
        (
            {"dtype": "float32", "torch_dtype": "bfloat16"},
            True,
            {"dtype": "float32", "torch_dtype": "float32"},
        ),
        ({}, True, {}),
        ({}, False, {"dtype": "float32"}),
    ],
)
def test_a_config_asks_for_single_precision_unless_its_file_does(
    config: dict[str, Any], single: bool, meant: dict[str, Any]
) -> None:
    found = load_in_single({"hidden_size": 8, **config}, stored_in_single=single)
    assert found == {"hidden_size": 8, **meant}


def copy_tokenizer(folder: Path, *without: str) -> Path:
    shutil.copytree(TOKENIZER, folder)
    for name in without:
        (folder / name).unlink()
    return folder


def test_vocabulary_and_merges_are_taken_out_of_one_file(tmp_path: Path) -> None:
    folder = copy_tokenizer(tmp_path / "tokenizer", "vocab.json", "merges.txt")
    complete_vocabulary(folder)
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        assert (folder / name).read_bytes() == (TOKENIZER / name).read_bytes()


def test_merges_written_as_text_are_read_too(tmp_path: Path) -> None:
    folder = copy_tokenizer(tmp_path / "tokenizer", "vocab.json", "merges.txt")
    file = folder / "tokenizer.json"
    said = json.loads(file.read_text())
    said["model"]["merges"] = [" ".join(pair) for pair in said["model"]["merges"]]
    file.write_text(json.dumps(said))
    complete_vocabulary(folder)
    assert (folder / "merges.txt").read_bytes() == (TOKENIZER / "merges.txt").read_bytes()


TEXTS = ["a red house", "Two <cat-toy>s, near a lake!", "", "größe  42"]


def test_one_file_is_made_of_vocabulary_and_merges_and_tokenizes_alike(tmp_path: Path) -> None:
    folder = copy_tokenizer(tmp_path / "tokenizer", "tokenizer.json")
    before = CLIPTokenizer.from_pretrained(folder)(TEXTS).input_ids
    complete_vocabulary(folder)
    assert (folder / "tokenizer.json").is_file()
    assert CLIPTokenizer.from_pretrained(folder)(TEXTS).input_ids == before
    assert CLIPTokenizer.from_pretrained(TOKENIZER)(TEXTS).input_ids == before


def test_tokens_that_were_added_stay_whole(tmp_path: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    tokenizer.add_tokens([AddedToken("<cat-toy>", normalized=False)])
    meant = tokenizer(TEXTS).input_ids
    assert len(tokenizer) - 1 in meant[1]
    tokenizer.save_pretrained(tmp_path)
    complete_vocabulary(tmp_path)
    assert CLIPTokenizer.from_pretrained(tmp_path)(TEXTS).input_ids == meant


@pytest.mark.parametrize("said", [{}, {"model": []}, {"model": {"vocab": 3, "merges": []}}])
def test_a_tokenizer_of_another_kind_is_refused(said: object, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="of a CLIP tokenizer"):
        complete_vocabulary(tmp_path)
