"""Train tiny Stable Diffusions by recipe and write each as a stock diffusers folder.

    python scripts/train_world.py scripts/worlds/fill-16.toml --out worlds --device cuda

Several recipes are trained side by side. On one H100 that takes minutes, on 2 cores hours to days.
Every stage is checkpointed, and a running one once a minute, so that a killed run goes on where it
was; step k always sees the same batch. `--photos` names the photographs of recipes that have some;
every fourth of them by name is left out, for measurements. `--seconds` shortens all trainings so
that they end in time, by the pace of their first steps, and writes the steps that they took.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from world_batches import draw_batch, weigh_cells
from world_data import build_tokenizer, gather_scenes
from world_recipe import Recipe, read_recipe
from world_trainer import Trainer, train_together
from world_vae import encode_scenes, make_vae

from sdsearch.export import complete_vocabulary, tensor_name
from sdsearch.unet import TINY, UNPRUNED, unet_config
from sdsearch.weights import write_tensors

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

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
PACED_STEPS = 40


@dataclass(frozen=True, slots=True)
class Run:
    """One training: its recipe, where checkpoints and finished worlds lie, its device."""

    recipe: Recipe
    work: Path
    out: Path
    device: torch.device

    def find_part(self, world: str, part: str) -> Path:
        """The folder of a part of another world, which is trained before."""
        folder = self.out / world / part
        if not folder.is_dir():
            raise SystemExit(
                f"{self.recipe.name} begins with the {part} of {world}, but there is no {folder}; "
                f"train {world} first, with the same --out"
            )
        return folder

    def generator(self, stage: int, step: int) -> torch.Generator:
        """The random stream of one step, the same however often the run was interrupted."""
        words = np.random.SeedSequence([self.recipe.seed, stage, step])
        state = int(words.generate_state(1, np.uint64)[0] >> np.uint64(1))
        return torch.Generator(self.device).manual_seed(state)

    def seeded(self, model_class: Any, offset: int, *args: object, **kwargs: object) -> Any:
        """A model whose initial weights depend on the recipe's seed alone, on the device."""
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(self.recipe.seed + offset)
            return model_class(*args, **kwargs).to(self.device)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline folder is made of."""

    recipe: Recipe
    vae: AutoencoderKL
    tokenizer: CLIPTokenizer
    trainer: Trainer


def main() -> None:
    """Train all recipes together, and write a pipeline folder for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("recipes", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("work/worlds"))
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--seconds", type=float)
    args = parser.parse_args()
    start = time.monotonic()
    torch.set_float32_matmul_precision("high")
    recipes = [read_recipe(file) for file in args.recipes]
    parts = [
        prepare(Run(recipe, args.work / recipe.name, args.out, args.device), args.photos)
        for recipe in recipes
    ]
    print(f"prepared in {time.monotonic() - start:.0f} s", flush=True)
    trainers = [part.trainer for part in parts]
    if args.seconds:
        shorten(trainers, args.seconds - (time.monotonic() - start))
    train_together(trainers)
    for part in parts:
        part.trainer.finish()
        save_pipeline(args.out / part.recipe.name, part)


def shorten(trainers: list[Trainer], seconds: float) -> None:
    """Give all trainings as many steps as fit some seconds, by the pace of their first ones."""
    for trainer in trainers:
        for _ in range(PACED_STEPS // 2):
            trainer.take_step()
    wait_for_device()
    start = time.monotonic()
    for _ in range(PACED_STEPS):
        for trainer in trainers:
            trainer.take_step()
    wait_for_device()
    pace = (time.monotonic() - start) / PACED_STEPS
    for trainer in trainers:
        trainer.steps = min(trainer.steps, trainer.step + int(seconds / pace))
        print(f"{trainer.path.stem}: {trainer.steps} steps at {pace:.4f} s a round", flush=True)


def wait_for_device() -> None:
    """Wait until all that was ordered is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def prepare(run: Run, photos: Path | None) -> Parts:
    """Everything of a training but its steps."""
    run.work.mkdir(parents=True, exist_ok=True)
    scenes = gather_scenes(run.recipe, run.work.parent, photos)
    vae = make_vae(scenes, run)
    latents = encode_scenes(vae, scenes, run)
    if run.recipe.text == "random":
        tokenizer = build_tokenizer(scenes.captions, run.work / "tokenizer")
    else:
        tokenizer = CLIPTokenizer.from_pretrained(run.find_part(run.recipe.text, "tokenizer"))
    unet = run.seeded(
        UNet2DConditionModel.from_config, 1, unet_config(UNPRUNED, run.recipe.backbone)
    )
    if run.recipe.initial == "zero":
        zero_residuals(unet)
    modules = torch.nn.ModuleDict({"unet": unet, "text": make_text_encoder(tokenizer, run)})
    tokens = tokenizer(
        ["", *scenes.captions], padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids.to(run.device)

    def draw(step: int) -> dict[str, torch.Tensor]:
        return draw_batch(latents, tokens, run.recipe, run.generator(2, step))

    trainer = Trainer(
        modules.train(),
        draw,
        VelocityLoss(modules, run.recipe, run.device),
        run.work / f"{run.recipe.name}.safetensors",
        run.recipe.unet_steps,
        run.recipe.learning_rate,
    )
    return Parts(run.recipe, vae, tokenizer, trainer)


@torch.no_grad()
def zero_residuals(unet: UNet2DConditionModel) -> None:
    """Begin with the last layer of every residual branch at zero: each block is the identity.

    With diffusers' own initial weights the inner levels are noise, which the net learns within
    minutes to ignore, and then ignores for ever.
    """
    lasts = ("conv2", "proj_out", "to_out.0", "ff.net.2")
    for name, module in unet.named_modules():
        if name.endswith(lasts):
            for parameter in module.parameters():
                parameter.zero_()


class VelocityLoss:
    """The weighted v-prediction error of a batch, of tensors alone.

    What keeps holes from being off in tone (docs/decisions/0009-tiny-teacher-recipe.md): half
    of the samples get noise with an offset in the hole, as a net that trusts the mean colour of a
    noisy hole keeps its first wrong guess of it until the end; a quarter are pure noise, where that
    guess is made; half of the scenes may be tinted, in colours that no caption tells; and the
    hole's edge may weigh more.
    """

    def __init__(self, modules: torch.nn.ModuleDict, recipe: Recipe, device: torch.device) -> None:
        self.modules, self.recipe = modules, recipe
        self.signal = SCHEDULER.alphas_cumprod.to(device).sqrt()
        self.noise = (1 - SCHEDULER.alphas_cumprod.to(device)).sqrt()

    def __call__(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The loss, a scalar."""
        clean, noise = batch["clean"], batch["noise"]
        signal = self.signal[batch["timesteps"]].view(-1, 1, 1, 1)
        deviation = self.noise[batch["timesteps"]].view(-1, 1, 1, 1)
        noisy = signal * clean + deviation * noise
        context = self.modules["text"](batch["tokens"])[0]
        if self.recipe.channels == 9:
            noisy = torch.cat([noisy, batch["mask"], batch["masked"]], 1)
        predicted = self.modules["unet"](noisy, batch["timesteps"], context, return_dict=False)[0]
        error = (predicted - (signal * noise - deviation * clean)).square()
        if self.recipe.channels == 4:
            return error.mean()
        weight = weigh_cells(batch["mask"], self.recipe)
        return (weight * error).mean() / weight.mean()


def make_text_encoder(tokenizer: CLIPTokenizer, run: Run) -> CLIPTextModel:
    """Another world's text encoder, or a random one as wide as the UNet's cross-attention."""
    if run.recipe.text != "random":
        folder = run.find_part(run.recipe.text, "text_encoder")
        encoder = CLIPTextModel.from_pretrained(folder, dtype=torch.float32).to(run.device)
        return encoder.requires_grad_(True)
    config = CLIPTextConfig(
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
    return run.seeded(CLIPTextModel, 2, config)


def save_pipeline(out: Path, parts: Parts) -> None:
    """Write the stock folder with half-precision weights, to keep the repository small."""
    kind = StableDiffusionPipeline if parts.recipe.channels == 4 else StableDiffusionInpaintPipeline
    pipeline = kind(
        vae=parts.vae.cpu().half(),
        unet=parts.trainer.modules["unet"].cpu().half(),
        text_encoder=parts.trainer.modules["text"].cpu(),
        tokenizer=parts.tokenizer,
        scheduler=SCHEDULER,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(out)
    complete_vocabulary(out / "tokenizer")
    for file in out.glob("*/config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)  # a place on the machine that trained it
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = out / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    write_tensors(weights, tensors, rename=lambda name: tensor_name("text_encoder", name))
    said = parts.recipe.model_dump() | {"unet_steps": parts.trainer.steps}
    (out / "recipe.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    print(f"pipeline written to {out}")


if __name__ == "__main__":
    main()
