"""LoRAs of a teacher in every format, written without our code, and merged by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.backbone import TINY
from sdsearch.weights.inherit import make_unet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from sdsearch.unet.backbone import Backbone

FORMATS = ("kohya", "locon", "processor", "lora", "header", "peft")


@dataclass
class Made:
    """A LoRA file's tensors, header and what lies beside, and what it adds to each weight."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    header: dict[str, str] = field(default_factory=dict)
    beside: dict[str, object] = field(default_factory=dict)
    deltas: dict[str, torch.Tensor] = field(default_factory=dict)

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if self.beside:
            (folder / "adapter_config.json").write_text(json.dumps(self.beside))
        save_file(self.tensors, folder / "style.safetensors", {"format": "pt", **self.header})
        return folder / "style.safetensors"

    def merged(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found = dict(state)
        for module, delta in self.deltas.items():
            found[f"{module}.weight"] = found[f"{module}.weight"] + delta
        return found


def changeable(backbone: Backbone = TINY) -> dict[str, torch.Size]:
    """The weights of all layers of a teacher that a LoRA may change."""
    unet = make_unet(UNPRUNED, backbone, torch.device("meta"))
    kinds = torch.nn.Linear, torch.nn.Conv2d
    return {n: m.weight.shape for n, m in unet.named_modules() if isinstance(m, kinds)}


def is_projection(name: str) -> bool:
    return name.endswith((".to_q", ".to_k", ".to_v", ".to_out.0"))


def in_transformer(name: str) -> bool:
    return "transformer_blocks" in name


def make_lora(
    style: str,
    backbone: Backbone = TINY,
    wanted: Callable[[str], bool] | None = None,
    seed: int = 0,
) -> Made:
    """A LoRA of ranks 2 and 3 and several alphas on what such files change, or on what is wanted.

    "kohya" is of transformers, "processor" of attentions, "locon" and the others of every layer.
    """
    usual = {"kohya": in_transformer, "processor": is_projection}.get(style, lambda _: True)
    shapes = {n: s for n, s in changeable(backbone).items() if (wanted or usual)(n)}
    generator = torch.Generator().manual_seed(seed)
    made = Made()
    ranks, alphas = {}, {}
    for number, (name, (outputs, *inputs)) in enumerate(shapes.items()):
        rank = ranks[name] = 3 if number % 5 == 4 else 2
        alpha = alphas[name] = float((8, 1, 4)[number % 3])
        down = torch.randn(rank, *inputs, generator=generator) * 0.1
        up = torch.randn(outputs, rank, *(1 for _ in inputs[1:]), generator=generator) * 0.1
        scale = 1.0 if style in ("processor", "lora") else alpha / rank
        made.deltas[name] = scale * torch.einsum("or,r...->o...", up.flatten(1), down)
        made.tensors |= spelled(style, name, down, up, alpha)
    said = {
        "r": 2,
        "lora_alpha": 8.0,
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != 2},
        "alpha_pattern": {f"^{name}": alpha for name, alpha in alphas.items() if alpha != 8},
    }
    if style == "header":
        said = {**said, "target_modules": list(shapes), "lora_dropout": 0.0, "use_dora": False}
        packed = {f"unet.{name}": value for name, value in said.items()}
        made.header = {"lora_adapter_metadata": json.dumps(packed), "author": "somebody"}
    if style == "peft":
        made.beside = {**said, "peft_type": "LORA", "base_model_name_or_path": "/home/a/model"}
    return made


def spelled(
    style: str, name: str, down: torch.Tensor, up: torch.Tensor, alpha: float
) -> dict[str, torch.Tensor]:
    if style in ("kohya", "locon"):
        key = "lora_unet_" + name.replace(".", "_")
        pair = {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        return {**pair, f"{key}.alpha": torch.tensor(alpha)}
    if style == "processor":
        attention, leaf = name.removesuffix(".0").rsplit(".", 1)
        key = f"unet.{attention}.processor.{leaf}_lora"
        return {f"{key}.down.weight": down, f"{key}.up.weight": up}
    if style == "lora":
        return {f"unet.{name}.lora.down.weight": down, f"unet.{name}.lora.up.weight": up}
    key = f"{'base_model.model' if style == 'peft' else 'unet'}.{name}"
    return {f"{key}.lora_A.weight": down, f"{key}.lora_B.weight": up}


def load_stock(unet: UNet2DConditionModel, file: Path) -> dict[str, torch.Tensor]:
    """The weights of a UNet after a stock pipeline has loaded a LoRA file and fused it."""
    from diffusers import StableDiffusionPipeline

    parts = dict.fromkeys(
        ("vae", "text_encoder", "tokenizer", "scheduler", "safety_checker", "feature_extractor")
    )
    pipeline = StableDiffusionPipeline(unet=unet, **parts, requires_safety_checker=False)
    pipeline.load_lora_weights(file)
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
    return {name: tensor.detach() for name, tensor in pipeline.unet.state_dict().items()}
