"""The tiny pipeline saved in other ways, and how two teachers are compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch_eval.pictures.pipelines import load_pipeline

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch_eval.models import Components

CPU = torch.device("cpu")
TINY_SD = asset_path(TINY_TEACHER)
WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET = load_file(TINY_SD / "unet" / WEIGHTS)
Layout = Callable[[Path], None]


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rename(suffix: str, *parts: str) -> Layout:
    """Whole files of a variant in single precision."""

    def change(folder: Path) -> None:
        for part in parts:
            (file,) = (folder / part).glob("*.safetensors")
            file.rename(file.with_suffix(f".{suffix}.safetensors"))

    return change


def shards(variant: str | None = None) -> Layout:
    def change(folder: Path) -> None:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        shutil.rmtree(folder / "unet")
        unet.save_pretrained(folder / "unet", max_shard_size="4MB", variant=variant)
        assert len(list((folder / "unet").glob("*-of-*"))) > 2

    return change


def legacy_shards(folder: Path) -> None:
    """As releases before 0.32 named a variant's shards and index."""
    shards("fp16")(folder)
    for file in (folder / "unet").glob("*.fp16-*"):
        name = file.name.replace(".fp16-", "-").replace(".safetensors", ".fp16.safetensors")
        file.rename(file.with_name(name))
    (index,) = (folder / "unet").glob("*.index.fp16.json")
    said = json.loads(index.read_text())
    said["weight_map"] = {
        tensor: name.replace(".fp16-", "-").replace(".safetensors", ".fp16.safetensors")
        for tensor, name in said["weight_map"].items()
    }
    index.unlink()
    index.with_name("diffusion_pytorch_model.safetensors.fp16.index.json").write_text(
        json.dumps(said)
    )


def sharded_text(folder: Path) -> None:
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    (folder / "text_encoder" / "model.safetensors").unlink()
    encoder.save_pretrained(folder / "text_encoder", max_shard_size="200KB")
    assert (folder / "text_encoder" / "model.safetensors.index.json").is_file()


def pickled(variant: str = "") -> Layout:
    """All parts but the UNet as pickles."""

    def change(folder: Path) -> None:
        for part, stem in (("vae", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
            (file,) = (folder / part).glob("*.safetensors")
            torch.save(load_file(file), folder / part / f"{stem}{variant}.bin")
            file.unlink()

    return change


def garbage_beside(name: str, part: str = "unet") -> Layout:
    """Weights of another variant that must not be taken, as they are all zero."""

    def change(folder: Path) -> None:
        (file,) = (folder / part).glob("*.safetensors")
        zeros = {name: torch.zeros_like(one) for name, one in load_file(file).items()}
        save_file(zeros, folder / part / name)

    return change


def pickle_beside_variant(folder: Path) -> None:
    rename("fp16", "unet")(folder)
    pickle_beside(folder)


def pickle_beside(folder: Path) -> None:
    torch.save({"conv_in.weight": torch.zeros(1)}, folder / "unet" / "diffusion_pytorch_model.bin")


def listed(**parts: Any) -> Layout:
    return lambda folder: edit(folder / "model_index.json", **parts)


def outputs(parts: Components) -> list[Tensor]:
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    latents = parts.encode_images(image)
    return [parts.encode_text(["a red house"]), latents, parts.decode_latents(latents)]


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def paint(folder: Path) -> object:
    return load_pipeline(str(folder), CPU)
