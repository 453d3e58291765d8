"""Train the embedded tiny Stable Diffusion and write it as a stock diffusers inpainting folder.

    python scripts/train_tiny_sd.py --out assets/tiny-sd

About two and a half hours on 2 cores. Every stage and every 250 steps are checkpointed, so a
killed run goes on where it was; step k always sees the same batch, so it also ends the same.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tiny_sd_data import (
    TrainingScenes,
    build_tokenizer,
    render_training_scenes,
    tint_scenes,
)
from tiny_sd_trainer import Trainer
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sdsearch.backbone import TINY
from sdsearch.space import search_space
from sdsearch.unet_config import unet_config

BATCH_SIZE = 32
CAPTION_DROPOUT = 0.1
HOLE_WEIGHT, KEEP_WEIGHT = 1.0, 0.25
OFFSET = 0.5
SCHEDULER = DDIMScheduler(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    clip_sample=False,
    # With a zero terminal SNR, v-prediction and trailing steps, sampling starts from the pure noise
    # that training saw at t = 999: otherwise the mean colour of a hole is guessed wrong.
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
    set_alpha_to_one=True,
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one training run is: where its checkpoints lie, how long it is, its seed."""

    work: Path
    seed: int
    vae_steps: int
    unet_steps: int
    tone_steps: int
    tint_steps: int


def main() -> None:
    """Train the three parts in turn and write the pipeline folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("work/tiny-sd"))
    parser.add_argument("--scenes", type=int, default=16_000)
    parser.add_argument("--vae-steps", type=int, default=2_000)
    parser.add_argument("--unet-steps", type=int, default=4_400)
    parser.add_argument("--tone-steps", type=int, default=5_000)
    parser.add_argument("--tint-steps", type=int, default=2_400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rounds = (args.unet_steps, args.tone_steps, args.tint_steps)
    run = Run(args.work, args.seed, args.vae_steps, *rounds)
    scenes = render_training_scenes(args.scenes, args.work)
    vae = train_vae(scenes, run)
    latents = encode_scenes(vae, scenes, run, "latents")
    tinted = encode_scenes(vae, tint_scenes(scenes, run.seed), run, "tinted")
    latents = Latents(*(torch.cat(pair) for pair in zip(latents, tinted, strict=True)))
    tokenizer = build_tokenizer(scenes.captions, args.work / "tokenizer")
    unet, text_encoder = train_unet(latents, tokenizer, scenes.captions, run)
    save_pipeline(args.out, vae, unet, text_encoder, tokenizer)
    print(f"pipeline written to {args.out}")


def seeded(model_class: type, seed: int, *args: object, **kwargs: object) -> torch.nn.Module:
    """Build a model whose initial weights depend on `seed` alone; no global stream is touched."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return model_class(*args, **kwargs).to(memory_format=torch.channels_last)


def images_to_tensor(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1], channels last."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return pixels.contiguous(memory_format=torch.channels_last)


def train_vae(scenes: TrainingScenes, run: Run) -> AutoencoderKL:
    """Train the f = 4 autoencoder; its scaling factor brings the latents to unit variance."""
    vae = seeded(
        AutoencoderKL,
        run.seed,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    )
    trainer = Trainer(
        torch.nn.ModuleDict({"vae": vae}), run.work / "vae.safetensors", run.vae_steps, 2e-3
    )

    def loss_of_step(step: int) -> torch.Tensor:
        rng = np.random.default_rng([run.seed, 1, step])
        index = rng.integers(len(scenes.images), size=16)
        images = images_to_tensor(scenes.images[index])
        # The encoder also meets images with a grey hole: that is what it conditions inpainting on.
        masks = torch.from_numpy(scenes.masks[index[:4], 0]).unsqueeze(1)
        images[:4] = torch.where(masks, 0.0, images[:4])
        posterior = vae.encode(images).latent_dist
        noise = torch.from_numpy(rng.standard_normal((16, 4, 16, 16), np.float32))
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        error = decoded - images
        return error.abs().mean() + 2 * error.square().mean() + 1e-7 * posterior.kl().mean()

    trainer.train(loss_of_step)
    with torch.no_grad():
        sample = vae.encode(images_to_tensor(scenes.images[:512])).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(1 / float(sample.std()), 5))
    return vae


class Latents(NamedTuple):
    """What the UNet learns from: (N, 4, 16, 16) images, (N, K, 4, 16, 16) masked ones, masks."""

    images: torch.Tensor
    masked: torch.Tensor
    masks: torch.Tensor


def encode_scenes(vae: AutoencoderKL, scenes: TrainingScenes, run: Run, name: str) -> Latents:
    """Encode every scene, and every scene under each of its masks, once."""
    path = run.work / f"{name}-{run.vae_steps}.safetensors"
    if not path.exists():
        images, masked, masks = [], [], []
        with torch.no_grad():
            for start in range(0, len(scenes.images), 64):
                chunk = images_to_tensor(scenes.images[start : start + 64])
                holes = torch.from_numpy(scenes.masks[start : start + 64]).float()
                images.append(vae.encode(chunk).latent_dist.mode() * vae.config.scaling_factor)
                covered = [
                    vae.encode(chunk * (1 - holes[:, k : k + 1])).latent_dist.mode()
                    * vae.config.scaling_factor
                    for k in range(holes.shape[1])
                ]
                masked.append(torch.stack(covered, 1))
                masks.append(F.max_pool2d(holes, 4))
        tensors = {
            "images": torch.cat(images),
            "masked": torch.cat(masked),
            "masks": torch.cat(masks),
        }
        save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    return Latents(**load_file(path))


def train_unet(
    latents: Latents, tokenizer: CLIPTokenizer, captions: list[str], run: Run
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train the UNet and the text encoder together on v-prediction, the hole weighing most.

    The second round cures holes that are off in tone. Half of the samples get noise with an offset
    in the hole: a net that trusts the mean colour of a noisy hole keeps its first wrong guess of it
    until the end. And it spends its time where that guess is made: a quarter of the samples are
    pure noise, the others are drawn in proportion to their timestep. A third round goes on with
    tinted scenes among the others, whose colours no caption tells.
    """
    config = unet_config(search_space("tiny").members["teacher"], TINY)
    unet = seeded(UNet2DConditionModel.from_config, run.seed + 1, config)
    text_encoder = seeded(CLIPTextModel, run.seed + 2, text_config(tokenizer))
    modules = torch.nn.ModuleDict({"unet": unet, "text": text_encoder})
    tokens = tokenizer(
        ["", *captions], padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids

    def loss_of_step(number: int, step: int) -> torch.Tensor:
        rng = np.random.default_rng([run.seed, 2 + number, step])
        scenes = len(latents.images) if number == 2 else len(captions)  # the second half is tinted
        index = torch.from_numpy(rng.integers(scenes, size=BATCH_SIZE))
        which = torch.from_numpy(rng.integers(latents.masked.shape[1], size=BATCH_SIZE))
        timesteps = torch.from_numpy(rng.integers(1000, size=BATCH_SIZE))
        noise = torch.from_numpy(rng.standard_normal((BATCH_SIZE, 4, 16, 16), np.float32))
        dropped = torch.from_numpy(rng.random(BATCH_SIZE) < CAPTION_DROPOUT)
        clean, mask = latents.images[index], latents.masks[index, which].unsqueeze(1)
        if number > 0:
            noise = noise + mask * draw_offsets(rng)
            timesteps = draw_late_timesteps(rng)
        noisy = SCHEDULER.add_noise(clean, noise, timesteps)
        inputs = torch.cat([noisy, mask, latents.masked[index, which]], 1)
        context = text_encoder(tokens[torch.where(dropped, 0, index % len(captions) + 1)])[0]
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        predicted = unet(inputs, timesteps, context, return_dict=False)[0]
        weight = KEEP_WEIGHT + (HOLE_WEIGHT - KEEP_WEIGHT) * mask
        error = (predicted - SCHEDULER.get_velocity(clean, noise, timesteps)).square()
        return (weight * error).mean() / weight.mean()

    rounds = (
        ("unet", run.unet_steps, 1.5e-3),
        ("unet-tone", run.tone_steps, 1.2e-3),
        ("unet-tint", run.tint_steps, 8e-4),
    )
    for number, (stem, steps, peak) in enumerate(rounds):
        modules.train().requires_grad_(True)
        trainer = Trainer(modules, run.work / f"{stem}.safetensors", steps, peak)
        trainer.train(partial(loss_of_step, number))
    return unet, text_encoder


def draw_late_timesteps(rng: np.random.Generator) -> torch.Tensor:
    """(B,) timesteps with a density proportional to t; every fourth is the last, pure noise."""
    timesteps = torch.from_numpy((1000 * np.sqrt(rng.random(BATCH_SIZE))).astype(np.int64))
    timesteps[::4] = 999
    return timesteps


def draw_offsets(rng: np.random.Generator) -> torch.Tensor:
    """(B, 4, 16, 16) smooth fields of deviation OFFSET; every other sample gets none."""
    corners = rng.standard_normal((BATCH_SIZE, 4, 2, 2), np.float32) * OFFSET
    corners[::2] = 0
    return F.interpolate(torch.from_numpy(corners), size=16, mode="bilinear", align_corners=True)


def text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    """A two-layer CLIP text encoder as wide as the tiny UNet's cross-attention."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TINY.cross_attention_dim,
        intermediate_size=4 * TINY.cross_attention_dim,
        projection_dim=TINY.cross_attention_dim,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def save_pipeline(
    out: Path,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Write the stock folder with half-precision weights, to keep the repository small."""
    pipeline = StableDiffusionInpaintPipeline(
        vae=vae.half(),
        unet=unet.half(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=SCHEDULER,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out)
    card = Path(__file__).with_name("tiny_sd_card.md")
    (out / "README.md").write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
    index = json.loads((out / "model_index.json").read_text(encoding="utf-8"))
    print(f"components: {', '.join(k for k in index if not k.startswith('_'))}")


if __name__ == "__main__":
    main()
