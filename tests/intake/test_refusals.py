"""Pipelines that are none of the family, or not whole, are refused by name everywhere."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.torch import load_file, save_file

from sdsearch.check.report import check_unet, report_text
from sdsearch.errors import InputError
from sdsearch.pipelines.folder import open_pipeline
from sdsearch_eval.models.teacher import load_teacher
from tests.intake.layouts import CPU, WEIGHTS, Layout, edit, listed, paint, shards

if TYPE_CHECKING:
    from pathlib import Path


def lose_index(folder: Path) -> None:
    shards()(folder)
    next((folder / "unet").glob("*.index.json")).unlink()


def lose_shard(folder: Path) -> None:
    shards()(folder)
    sorted((folder / "unet").glob("*-of-*"))[0].unlink()


def two_variants(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    shutil.copy(file, file.with_suffix(".a.safetensors"))
    file.rename(file.with_suffix(".b.safetensors"))


def lose_tensor(folder: Path) -> None:
    file = folder / "vae" / WEIGHTS
    state = load_file(file)
    del state["decoder.conv_out.bias"]
    save_file(state, file)


def config(part: str, **changes: Any) -> Layout:
    return lambda folder: edit(folder / part / "config.json", **changes)


def words(**changes: Any) -> Layout:
    return lambda folder: edit(folder / "tokenizer" / "tokenizer_config.json", **changes)


REFUSED: dict[str, tuple[Layout, str]] = {
    "shards without index": (lose_index, "need an index"),
    "an index without a shard": (lose_shard, "00001-of-"),
    "two variants of no convention": (two_variants, "variants a, b"),
    "a decoder without a tensor": (lose_tensor, "decoder.conv_out.bias"),
    "no UNet listed, as in SD3": (listed(unet=None), "model_index.json: unet"),
    "no text encoder, as in image variations": (
        listed(text_encoder=[None, None]),
        "model_index.json: text_encoder",
    ),
    "another UNet class": (listed(unet=["diffusers", "UNetMotionModel"]), "UNet2DConditionModel"),
    "a decoder of no such library": (
        listed(vae=["evil", "AutoencoderKL"]),
        "model_index.json: vae",
    ),
    "a decoder for videos": (listed(vae=["diffusers", "AutoencoderKLWan"]), "AutoencoderTiny"),
    "a pooled text encoder": (
        listed(text_encoder=["transformers", "CLIPTextModelWithProjection"]),
        "CLIPTextModel",
    ),
    "T5": (listed(text_encoder=["transformers", "T5EncoderModel"]), "T5EncoderModel"),
    "another tokenizer": (listed(tokenizer=["transformers", "BertTokenizer"]), "BertTokenizer"),
    "a list that is none": (listed(vae="AutoencoderKL"), "model_index.json: vae"),
    "a scheduler of LCM": (listed(scheduler=["diffusers", "LCMScheduler"]), "LCMScheduler"),
    "a scheduler of no such library": (listed(scheduler=["evil", "X"]), "model_index.json"),
    "unCLIP": (config("unet", class_embed_type="projection"), "class_embed_type"),
    "SDXL": (config("unet", addition_embed_type="text_time"), "addition_embed_type"),
    "LCM": (config("unet", time_cond_proj_dim=256), "time_cond_proj_dim"),
    "LCM, by its pipeline": (
        listed(_class_name="LatentConsistencyModelPipeline"),
        "model_index.json: _class_name .* latent consistency model",
    ),
    "LCM, by a scheduler that the index calls another": (
        lambda folder: edit(
            folder / "scheduler" / "scheduler_config.json", _class_name="LCMScheduler"
        ),
        "_class_name in .* latent consistency model",
    ),
    "Turbo, saved from the hub": (listed(_name_or_path="stabilityai/sd-turbo"), "it is SD-Turbo"),
    "Turbo, by its UNet": (
        config("unet", _name_or_path="/a/models--stabilityai--sd-turbo/snapshots/12/unet"),
        "unet/config.json: _name_or_path .* it is SD-Turbo",
    ),
    "InstructPix2Pix": (config("unet", in_channels=8), "in_channels must be 4 or 9"),
    "depth to image": (config("unet", in_channels=5), "in_channels must be 4 or 9"),
    "video": (config("unet", _class_name="UNet3DConditionModel"), "_class_name"),
    "GLIGEN": (config("unet", attention_type="gated"), "attention_type"),
    "a decoder of 16 channels": (config("vae", latent_channels=16), "vae"),
    **{
        f"a scaling factor of {value!r}": (
            config("vae", scaling_factor=value),
            "vae/config.json: scaling_factor must be a finite number above 0",
        )
        for value in (None, "0.18", 0, -0.18215, True, float("nan"), float("inf"))
    },
    "a tokenizer of more tokens": (
        words(pad_token="<|pad|>"),
        "number of tokens of the tokenizer in .* must be 615 or fewer",
    ),
    "no token to pad with": (words(pad_token=None), "pad_token of the tokenizer in"),
    **{
        f"texts of {value!r} tokens": (words(model_max_length=value), "tokenizer in")
        for value in ("77", -1, 0, 7.5)
    },
    "a decoder of depth maps": (config("vae", out_channels=6), "vae/config.json: out_channels"),
    "a text encoder of another width": (config("text_encoder", hidden_size=96), "hidden_size"),
    "latents that are not square": (config("unet", sample_size=[16, 32]), "sample_size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_by_name_everywhere(case: str, folder: Path) -> None:
    change, said = REFUSED[case]
    change(folder)
    for load in (lambda: load_teacher(open_pipeline(str(folder)), CPU), lambda: paint(folder)):
        with pytest.raises(InputError, match=said):
            load()


@pytest.mark.parametrize("case", [name for name in REFUSED if "tensor" not in name])
def test_what_is_not_supported_is_a_problem_of_a_check(case: str, folder: Path) -> None:
    change, said = REFUSED[case]
    change(folder)
    try:
        found = report_text(check_unet(folder))
    except InputError as error:
        found = str(error)
    assert "problem" in found or said in found
    assert "no problems" not in found
