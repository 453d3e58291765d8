"""ONNX beside an exported pipeline: every part checked against torch before it gets its name."""

from __future__ import annotations

import importlib.util
import json
import shutil
import uuid
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from sdsearch.errors import InputError, WorkError
from sdsearch.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

LARGEST_DIFFERENCE = 1e-3
_INSTALL = "pip install onnx onnxscript onnxruntime"


class Part(NamedTuple):
    """A net to export: its inputs by name, batch first, and the name of its output."""

    net: nn.Module
    inputs: dict[str, Tensor]
    output: str


class Denoise(nn.Module):
    """A UNet as a function of tensors."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """(n, channels, h, w), (n,) and (n, tokens, width) -> (n, 4, h, w)."""
        found: Tensor = self.unet(sample, timestep, encoder_hidden_states, return_dict=False)[0]
        return found


class EncodeText(nn.Module):
    """A text encoder as a function of tensors."""

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor) -> Tensor:
        """(n, tokens) -> (n, tokens, width)."""
        found: Tensor = self.encoder(input_ids)[0]
        return found


class EncodeImage(nn.Module):
    """An autoencoder's first half as a function of tensors."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, sample: Tensor) -> Tensor:
        """(n, 3, H, W) -> (n, 8, h, w): means and log variances."""
        found: Tensor = self.vae.encode(sample).latent_dist.parameters
        return found


class DecodeLatents(nn.Module):
    """An autoencoder's second half as a function of tensors."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent_sample: Tensor) -> Tensor:
        """(n, 4, h, w) -> (n, 3, H, W)."""
        found: Tensor = self.vae.decode(latent_sample, return_dict=False)[0]
        return found


def check_onnx() -> None:
    """Refuse an ONNX export where the extra `onnx` is not installed.

    Raises:
        InputError: it is not; the message says how to install it.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"an ONNX export needs {name}; install it: {_INSTALL}")


def export_onnx(folder: Path) -> dict[str, float]:
    """Write `folder`/onnx/<part>/model.onnx for UNet, text encoder, VAE encoder and decoder.

    Names of parts, inputs and outputs are those of Hugging Face Optimum; the batch is free, the
    resolution that of the model. Returns each part's largest absolute difference to torch, in
    float32 on the CPU, which `onnx/checked.json` holds too.

    Raises:
        InputError: the extra `onnx` is not installed.
        WorkError: a part differs by more than 1e-3; nothing is left behind then.
    """
    check_onnx()
    from diffusers import StableDiffusionInpaintPipeline

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    final = folder / "onnx"
    partial = folder / f".onnx-{uuid.uuid4().hex[:8]}.tmp"
    try:
        found = {
            name: _export_part(part, partial / name / "model.onnx")
            for name, part in _parts(pipeline).items()
        }
        worst = max(found, key=lambda name: found[name])
        if not found[worst] <= LARGEST_DIFFERENCE:
            raise WorkError(
                f"onnxruntime must agree with torch to {LARGEST_DIFFERENCE}, but its {worst} "
                f"differs by {found[worst]:.2g}"
            )
        write_atomic(partial / "checked.json", json.dumps(found, indent=1) + "\n")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found


def _export_part(part: Part, file: Path) -> float:
    """Export one net and return how far onnxruntime is from torch at batches of 1 and 2."""
    import onnxruntime
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    file.parent.mkdir(parents=True)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.onnx.export(
        part.net.eval(),
        tuple(part.inputs.values()),
        dynamo=True,
        input_names=list(part.inputs),
        output_names=[part.output],
        dynamic_shapes=tuple({0: batch} for _ in part.inputs),
        verbose=False,
    )
    if program is None:
        raise WorkError(f"torch.onnx must give a program for {file.parent.name}, but gave none")
    # Every node says in which file, of which folder here, it was written.
    ClearMetadataAndDocStringPass()(program.model)
    # Beside the graph: above 2 GB a model file cannot hold its weights.
    program.save(file, external_data=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    differences = []
    for count in (1, 2):
        inputs = {name: tensor[:count] for name, tensor in part.inputs.items()}
        with torch.no_grad():
            meant = part.net(*inputs.values())
        (made,) = session.run(None, {name: x.numpy() for name, x in inputs.items()})
        differences.append(float((torch.from_numpy(made) - meant).abs().max()))
    return max(differences)


def _parts(pipeline: StableDiffusionInpaintPipeline) -> dict[str, Part]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(2, *shape, generator=generator)

    unet, vae, text = pipeline.unet, pipeline.vae, pipeline.text_encoder
    side = unet.config.sample_size
    pixels = side * 2 ** (len(vae.config.block_out_channels) - 1)
    length = pipeline.tokenizer.model_max_length
    ids = torch.randint(text.config.vocab_size, (2, length), generator=generator)
    return {
        "unet": Part(
            Denoise(unet),
            {
                "sample": normal(unet.config.in_channels, side, side),
                "timestep": torch.tensor([900, 100]),
                "encoder_hidden_states": normal(length, unet.config.cross_attention_dim),
            },
            "out_sample",
        ),
        "text_encoder": Part(EncodeText(text), {"input_ids": ids}, "last_hidden_state"),
        "vae_encoder": Part(
            EncodeImage(vae),
            {"sample": normal(3, pixels, pixels)},
            "latent_parameters",
        ),
        "vae_decoder": Part(
            DecodeLatents(vae),
            {"latent_sample": normal(vae.config.latent_channels, side, side)},
            "sample",
        ),
    }
