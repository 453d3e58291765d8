"""Train the embedded tiny Stable Diffusion and write it as a stock diffusers inpainting folder.

    python scripts/train_tiny_sd.py --out assets/tiny-sd --device cuda

Minutes on one H100, days on 2 cores. Every stage is checkpointed, and a running one once a minute,
so a killed run goes on where it was; step k always sees the same batch, so it also ends the same.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tiny_sd_batches import Draw, Latents, weigh_cells
from tiny_sd_data import (
    TrainingScenes,
    build_tokenizer,
    render_training_scenes,
    tint_scenes,
)
from tiny_sd_graphs import Autoencode, Denoise, replayed
from tiny_sd_trainer import Trainer
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sdsearch.export import complete_vocabulary, tensor_name
from sdsearch.unet import TINY, UNPRUNED, unet_config
from sdsearch.weights import write_tensors

VAE_BATCH, UNET_BATCH = 64, 128
CAPTION_DROPOUT = 0.1
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
    """What one training run is: where its checkpoints lie, how long it is, its seed, its device."""

    work: Path
    seed: int
    vae_steps: int
    unet_steps: int
    device: torch.device

    def generator(self, stage: int, step: int) -> torch.Generator:
        """The random stream of one step, the same however often the run was interrupted."""
        state = np.random.SeedSequence([self.seed, stage, step]).generate_state(1, np.uint64)
        return torch.Generator(self.device).manual_seed(int(state[0] >> np.uint64(1)))


def main() -> None:
    """Train the three parts in turn and write the pipeline folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("work/tiny-sd"))
    parser.add_argument("--scenes", type=int, default=32_000)
    parser.add_argument("--vae-steps", type=int, default=4_000)
    parser.add_argument("--unet-steps", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default="cpu")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    run = Run(args.work, args.seed, args.vae_steps, args.unet_steps, args.device)
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
        return model_class(*args, **kwargs)


def images_to_tensor(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1] on `device`."""
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    return pixels.contiguous().float() / 127.5 - 1


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
    ).to(run.device)
    trainer = Trainer(
        torch.nn.ModuleDict({"vae": vae}), run.work / "vae.safetensors", run.vae_steps, 2e-3
    )
    shape = (VAE_BATCH, 4, 16, 16)
    zeros = torch.zeros(VAE_BATCH, 3, 64, 64, device=run.device)
    autoencode = replayed(Autoencode(vae), (zeros, torch.zeros(shape, device=run.device)))

    def loss_of_step(step: int) -> torch.Tensor:
        index = np.random.default_rng([run.seed, 1, step]).integers(
            len(scenes.images), size=VAE_BATCH
        )
        images = images_to_tensor(scenes.images[index], run.device)
        # The encoder also meets images with a grey hole: that is what it conditions inpainting on.
        covered = index[: VAE_BATCH // 4]
        masks = torch.from_numpy(scenes.masks[covered, 0]).unsqueeze(1).to(run.device)
        images[: len(covered)] *= ~masks
        noise = torch.randn(shape, generator=run.generator(1, step), device=run.device)
        decoded, divergence = autoencode(images, noise)
        error = decoded - images
        return error.abs().mean() + 2 * error.square().mean() + 1e-7 * divergence.mean()

    trainer.train(loss_of_step)
    with torch.no_grad():
        sample = vae.encode(images_to_tensor(scenes.images[:512], run.device)).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(1 / float(sample.std()), 5))
    return vae


def encode_scenes(vae: AutoencoderKL, scenes: TrainingScenes, run: Run, name: str) -> Latents:
    """Encode every scene, and every scene under each of its masks, once."""
    path = run.work / f"{name}-{run.vae_steps}.safetensors"
    if not path.exists():
        parts = [
            _encode(vae, scenes.images[start : start + 250], scenes.masks[start : start + 250], run)
            for start in range(0, len(scenes.images), 250)
        ]
        images, masked, masks = (torch.cat(column) for column in zip(*parts, strict=True))
        tensors = {"images": images, "masked": masked, "masks": masks}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return Latents(**load_file(path, device=str(run.device)))


@torch.no_grad()
def _encode(vae: AutoencoderKL, images: np.ndarray, masks: np.ndarray, run: Run) -> Latents:
    pixels = images_to_tensor(images, run.device)
    holes = torch.from_numpy(masks).to(run.device).float()
    views = [pixels, *(pixels * (1 - holes[:, k : k + 1]) for k in range(holes.shape[1]))]
    clean, *masked = (
        vae.encode(view).latent_dist.mode() * vae.config.scaling_factor for view in views
    )
    return Latents(clean.cpu(), torch.stack(masked, 1).cpu(), F.max_pool2d(holes, 4).cpu())


def train_unet(
    latents: Latents, tokenizer: CLIPTokenizer, captions: list[str], run: Run
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train the UNet and the text encoder together on v-prediction, the hole weighing most.

    What keeps holes from being off in tone (docs/decisions/0009): half of the samples get noise
    with an offset in the hole, as a net that trusts the mean colour of a noisy hole keeps its first
    wrong guess of it until the end; a quarter are pure noise, where that guess is made; half of the
    scenes are tinted, in colours that no caption tells; and the hole's edge weighs more.
    """
    config = unet_config(UNPRUNED, TINY)
    unet = seeded(UNet2DConditionModel.from_config, run.seed + 1, config).to(run.device)
    text_encoder = seeded(CLIPTextModel, run.seed + 2, text_config(tokenizer)).to(run.device)
    modules = torch.nn.ModuleDict({"unet": unet, "text": text_encoder}).train()
    trainer = Trainer(modules, run.work / "unet.safetensors", run.unet_steps, 1.5e-3)
    tokens = tokenizer(
        ["", *captions], padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids.to(run.device)
    inputs = torch.zeros(UNET_BATCH, 9, 16, 16, device=run.device)
    zeros = torch.zeros(UNET_BATCH, dtype=torch.int64, device=run.device)
    context = text_encoder(tokens[zeros])[0].detach().requires_grad_()
    denoise = replayed(Denoise(unet), (inputs, zeros, context))

    def loss_of_step(step: int) -> torch.Tensor:
        generator = run.generator(2, step)
        draw = Draw(UNET_BATCH, generator)
        index = draw.integers(len(latents.images))
        which = draw.integers(latents.masked.shape[1])
        clean, mask = latents.images[index], latents.masks[index, which].unsqueeze(1)
        noise = draw.normal(4, 16, 16) + mask * draw.offsets()
        timesteps = draw.late_timesteps()
        noisy = SCHEDULER.add_noise(clean, noise, timesteps)
        inputs = torch.cat([noisy, mask, latents.masked[index, which]], 1)
        # The second half of the scenes are the first in other colours, under the same captions.
        rows = index % len(captions) + 1
        context = text_encoder(tokens[torch.where(draw.uniform() < CAPTION_DROPOUT, 0, rows)])[0]
        predicted = denoise(inputs, timesteps, context)
        error = (predicted - SCHEDULER.get_velocity(clean, noise, timesteps)).square()
        weight = weigh_cells(mask)
        return (weight * error).mean() / weight.mean()

    trainer.train(loss_of_step)
    return unet, text_encoder


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
        vae=vae.cpu().half(),
        unet=unet.cpu().half(),
        text_encoder=text_encoder.cpu(),
        tokenizer=tokenizer,
        scheduler=SCHEDULER,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out)
    complete_vocabulary(out / "tokenizer")
    weights = out / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    write_tensors(weights, tensors, rename=lambda name: tensor_name("text_encoder", name))
    card = Path(__file__).with_name("tiny_sd_card.md")
    (out / "README.md").write_text(card.read_text(encoding="utf-8"), encoding="utf-8")
    index = json.loads((out / "model_index.json").read_text(encoding="utf-8"))
    print(f"components: {', '.join(k for k in index if not k.startswith('_'))}")


if __name__ == "__main__":
    main()
