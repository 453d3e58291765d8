"""The autoencoder of a tiny Stable Diffusion, and the latents of what its UNet learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from world_batches import Latents
from world_data import tint_scenes
from world_recipe import PIXELS
from world_trainer import Trainer, train_together

if TYPE_CHECKING:
    from train_world import Run
    from world_data import TrainingScenes

BATCH, PEAK = 64, 2e-3
ENCODED_AT_ONCE = 250


class Autoencode(torch.nn.Module):
    """Images and latent noise to decoded images and the divergence of their latents."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, images: torch.Tensor, noise: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, 64, 64) and (N, 4, L, L) -> (N, 3, 64, 64) and (N,)."""
        posterior = self.vae.encode(images).latent_dist
        return self.vae.decode(posterior.mean + posterior.std * noise).sample, posterior.kl()


def images_to_tensor(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1] on `device`."""
    pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    return pixels.contiguous().float() / 127.5 - 1


def make_vae(scenes: TrainingScenes, run: Run) -> AutoencoderKL:
    """Another world's autoencoder, or one trained so that its latents have unit variance."""
    recipe = run.recipe
    if recipe.vae != "random":
        folder = run.find_part(recipe.vae, "vae")
        vae = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32).to(run.device)
        return vae.eval().requires_grad_(False)
    levels = recipe.factor.bit_length()
    vae = run.seeded(
        AutoencoderKL,
        0,
        block_out_channels=(16, 32, 64)[:levels],
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=PIXELS,
    )
    autoencode = Autoencode(vae)

    def draw(step: int) -> dict[str, torch.Tensor]:
        index = np.random.default_rng([recipe.seed, 1, step]).integers(
            len(scenes.images), size=BATCH
        )
        images = images_to_tensor(scenes.images[index], run.device)
        # The encoder also meets images with a grey hole: that is what it conditions inpainting on.
        covered = index[: BATCH // 4]
        masks = torch.from_numpy(scenes.masks[covered, 0]).unsqueeze(1).to(run.device)
        images[: len(covered)] *= ~masks
        shape = (BATCH, 4, recipe.latent, recipe.latent)
        noise = torch.randn(shape, generator=run.generator(1, step), device=run.device)
        return {"images": images, "noise": noise}

    def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        decoded, divergence = autoencode(batch["images"], batch["noise"])
        error = decoded - batch["images"]
        return error.abs().mean() + 2 * error.square().mean() + 1e-7 * divergence.mean()

    modules = torch.nn.ModuleDict({"vae": vae})
    trainer = Trainer(modules, draw, loss, run.work / "vae.safetensors", recipe.vae_steps, PEAK)
    train_together([trainer])
    trainer.finish()
    with torch.no_grad():
        sample = vae.encode(images_to_tensor(scenes.images[:512], run.device)).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(1 / float(sample.std()), 5))
    return vae


def encode_scenes(vae: AutoencoderKL, scenes: TrainingScenes, run: Run) -> Latents:
    """The latents of every picture, and of it under each of its masks; kept in the work folder."""
    path = run.work / f"latents-{run.recipe.vae_steps}.safetensors"
    if not path.exists():
        colourings = [scenes]
        if run.recipe.tinted:
            colourings.append(tint_scenes(scenes, run.recipe.seed))
        parts = [
            _encode(vae, images[start : start + ENCODED_AT_ONCE], masks, run)
            for images, all_masks in ((one.images, one.masks) for one in colourings)
            for start in range(0, len(images), ENCODED_AT_ONCE)
            for masks in (all_masks[start : start + ENCODED_AT_ONCE],)
        ]
        images, masked, masks = (torch.cat(column) for column in zip(*parts, strict=True))
        grey = np.full((1, PIXELS, PIXELS, 3), 127.5, np.float32)
        with torch.no_grad():
            covered = vae.encode(images_to_tensor(grey, run.device)).latent_dist.mode()[0]
        covered = (covered * vae.config.scaling_factor).cpu()
        tensors = Latents(images, masked, masks, covered)._asdict()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return Latents(**load_file(path, device=str(run.device)))


@torch.no_grad()
def _encode(
    vae: AutoencoderKL, images: np.ndarray, masks: np.ndarray, run: Run
) -> tuple[torch.Tensor, ...]:
    pixels = images_to_tensor(images, run.device)
    holes = torch.from_numpy(masks).to(run.device).float()
    clean = vae.encode(pixels).latent_dist.mode()
    masked = torch.zeros(len(images), 0, *clean.shape[1:])
    if run.recipe.channels == 9:
        views = [pixels * (1 - holes[:, k : k + 1]) for k in range(holes.shape[1])]
        codes = [vae.encode(view).latent_dist.mode() for view in views]
        masked = torch.stack(codes, 1).cpu()
    scale = vae.config.scaling_factor
    return clean.cpu() * scale, masked * scale, F.max_pool2d(holes, run.recipe.factor).cpu()
