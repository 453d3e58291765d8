"""Shared builders: labels, designs and studies with known numbers, and a random tiny teacher."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.design.designs import Design, DesignFile, Prediction
from sdsearch.files import write_atomic
from sdsearch.labels.content import ResolvedProtocol
from sdsearch.labels.label import Failure, Label
from sdsearch.labels.protocol import Protocol
from sdsearch.space.budget import Budget
from sdsearch.space.meter import Meter
from sdsearch.space.space import search_space
from sdsearch.study.folder import StudyFolder, read_study
from sdsearch.study.listing import Listing, Origin, read_sample, write_sample
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.backbone import SD14_INPAINT, TINY
from sdsearch.unet.config import unet_config
from sdsearch.unet.cost import count_macs, count_params

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sdsearch.unet.architecture import Architecture
    from sdsearch.unet.backbone import Backbone


def tiny_member(name: str = "teacher") -> Architecture:
    """A named member of the tiny space."""
    return search_space("tiny").members[name]


def make_label(
    arch: Architecture | None = None,
    *,
    protocol_key: str | None = None,
    seed: int = 0,
    failure: Failure | None = None,
    provenance: dict[str, Any] | None = None,
    **values: Any,
) -> Label:
    """A label of an architecture (the tiny teacher) with the given values."""
    arch = arch or tiny_member()
    return Label.model_validate(
        {
            "schema": 1,
            "arch_key": arch.key,
            "protocol_key": protocol_key or ResolvedProtocol(protocol=Protocol()).key,
            "seed": seed,
            "status": "failed" if failure else "ok",
            "failure": failure,
            "architecture": arch.model_dump(mode="json"),
            "values": values,
            "provenance": provenance or {},
        }
    )


def measured(arch: Architecture, fd: float, se: float | None = None, seed: int = 0) -> Label:
    """A label with the columns that the outcome needs; its cost is the true one."""
    return make_label(
        arch,
        seed=seed,
        fd_efflite0={"value": fd, "se": se, "n": 256},
        params=count_params(arch, TINY),
        macs=count_macs(arch, TINY, TINY.sample_size).total,
    )


def make_design(arch: Architecture, method: str, rank: int, reason: str = "level0: kept") -> Design:
    """A design of the tiny space."""
    return Design.model_validate(
        {
            "name": f"{method}-{rank}",
            "method": method,
            "rank": rank,
            "arch_key": arch.key,
            "architecture": arch,
            **Meter(search_space("tiny")).member(arch),
            "predicted": Prediction(target=-3.0, se=0.1),
            "score": 1.0,
            "reasons": (reason,),
        }
    )


def make_study(folder: Path, toml: str = "") -> StudyFolder:
    """A study with the given study.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(toml)
    return read_study(folder)


def list_members(study: StudyFolder, archs: Iterable[Architecture]) -> None:
    """Write architectures.jsonl as sampling does."""
    drawn = Origin(kind="sample", name="uniform")
    write_sample(study, Listing.of((arch, drawn) for arch in archs))


def write_designs(study: StudyFolder, designs: list[Design]) -> None:
    """Write designs.json as `build` does."""
    file = DesignFile(
        protocol_key=study.protocol_key,
        target=study.config.ranker.target.expression,
        budget=study.config.build.budget or Budget(),
        designs=tuple(designs),
    )
    write_atomic(study.designs_file, file.model_dump_json())


def label_by_params(study: StudyFolder) -> None:
    """Label everything that was sampled by a formula: more parameters, lower distance."""
    rng, total = np.random.default_rng(0), count_params(UNPRUNED, TINY)
    for arch in read_sample(study).architectures.values():
        share = count_params(arch, TINY) / total
        study.labels.write(measured(arch, 300.0 - 100.0 * share + rng.normal(), 2.0))


def full_geometry(folder: Path, backbone: Backbone = SD14_INPAINT, vae_levels: int = 4) -> Path:
    """The configs of a pipeline of full size: all that is read before there is work to do."""
    vae = {
        "_class_name": "AutoencoderKL",
        "block_out_channels": [128, 256, 512, 512][:vae_levels],
        "down_block_types": ["DownEncoderBlock2D"] * vae_levels,
        "up_block_types": ["UpDecoderBlock2D"] * vae_levels,
        "layers_per_block": 2,
    }
    text = {
        "hidden_size": backbone.cross_attention_dim,
        "intermediate_size": 4 * backbone.cross_attention_dim,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    }
    configs = {
        "model_index.json": {"_class_name": "StableDiffusionInpaintPipeline"},
        "unet/config.json": unet_config(UNPRUNED, backbone),
        "vae/config.json": vae,
        "text_encoder/config.json": text,
    }
    for name, config in configs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(config))
    return folder


def fake_teacher(folder: Path) -> Path:
    """A random 9-channel inpainting pipeline of the tiny geometry, in stock diffusers form."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from sdsearch.weights.inherit import make_unet

    letters = string.ascii_lowercase
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with torch.random.fork_rng():
        unet = make_unet(tiny_member(), TINY)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for tensor in unet.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.05)
        text = CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=TINY.cross_attention_dim,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
            pad_token_id=len(words) - 1,
        )
        pipeline = StableDiffusionInpaintPipeline(
            vae=AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 3,
                up_block_types=("UpDecoderBlock2D",) * 3,
                block_out_channels=(8, 8, 8),
                norm_num_groups=4,
                sample_size=64,
            ),
            text_encoder=CLIPTextModel(text),
            tokenizer=CLIPTokenizer(
                vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77
            ),
            unet=unet,
            scheduler=DDIMScheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return folder


def checked_teacher(folder: Path) -> Path:
    """The random teacher with a safety checker, a feature extractor and an image encoder."""
    import torch
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    fake_teacher(folder)
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
        "projection_dim": 8,
    }
    with torch.random.fork_rng():
        checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision))
    generator = torch.Generator().manual_seed(1)
    for tensor in (*checker.parameters(), *encoder.parameters()):
        torch.nn.init.normal_(tensor, generator=generator)
    size = {"height": 32, "width": 32}
    parts = {
        "safety_checker": (checker, "stable_diffusion", "StableDiffusionSafetyChecker"),
        "feature_extractor": (
            CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size),
            "transformers",
            "CLIPImageProcessor",
        ),
        "image_encoder": (encoder, "transformers", "CLIPVisionModelWithProjection"),
    }
    index = json.loads((folder / "model_index.json").read_text())
    for name, (part, library, class_name) in parts.items():
        part.save_pretrained(folder / name)
        index[name] = [library, class_name]
    index["requires_safety_checker"] = True
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
