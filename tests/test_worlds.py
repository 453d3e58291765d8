from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline
from pydantic import ValidationError

from scripts.world_batches import Latents, draw_batch, weigh_cells
from scripts.world_recipe import Recipe, read_recipe
from scripts.world_trainer import Trainer, train_together

if TYPE_CHECKING:
    from collections.abc import Mapping

WORLDS = Path(__file__).parents[1] / "scripts" / "worlds"


@pytest.mark.parametrize("file", sorted(WORLDS.glob("*.toml")), ids=lambda file: file.stem)
def test_every_recipe_can_be_read_and_has_equal_bottom_widths(file: Path) -> None:
    recipe = read_recipe(file)
    assert recipe.name == file.stem
    assert recipe.widths[2] == recipe.widths[3]
    assert recipe.backbone.sample_size * recipe.factor == 64


@pytest.mark.parametrize("file", sorted(WORLDS.glob("*.toml")), ids=lambda file: file.stem)
def test_what_a_recipe_begins_with_is_made_by_another(file: Path) -> None:
    recipe = read_recipe(file)
    for donor in {recipe.text, recipe.vae} - {"random"}:
        assert read_recipe(WORLDS / f"{donor}.toml").text == "random"


def test_a_misspelt_line_of_a_recipe_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text("learning_rates = 1e-3\n", encoding="utf-8")
    with pytest.raises(ValidationError, match="learning_rates"):
        read_recipe(file)


def make_trainer(path: Path, steps: int = 12) -> Trainer:
    modules = torch.nn.ModuleDict({"net": torch.nn.Linear(3, 2)})
    for parameter in modules.parameters():
        torch.nn.init.constant_(parameter, 0.1)

    def draw(step: int) -> dict[str, torch.Tensor]:
        return {"inputs": torch.randn(4, 3, generator=torch.Generator().manual_seed(step))}

    def loss(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        outputs: torch.Tensor = modules["net"](batch["inputs"])
        return (outputs - 1).square().mean()

    return Trainer(modules, draw, loss, path, steps, 1e-2)


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole, before = make_trainer(tmp_path / "whole.st"), make_trainer(tmp_path / "parts.st")
    train_together([whole])
    for _ in range(5):
        before.take_step()
    before.save()
    after = make_trainer(tmp_path / "parts.st")
    assert after.step == 5
    train_together([after])
    for trainer in (whole, after):
        trainer.finish()
    for one, other in zip(whole.parameters, after.parameters, strict=True):
        assert torch.equal(one, other)


def test_trainings_side_by_side_end_as_each_would_alone(tmp_path: Path) -> None:
    alone = make_trainer(tmp_path / "alone.st", 7)
    beside = [make_trainer(tmp_path / f"{steps}.st", steps) for steps in (7, 12)]
    train_together([alone])
    train_together(beside)
    assert torch.equal(alone.parameters[0], beside[0].parameters[0])
    assert [trainer.step for trainer in beside] == [7, 12]


LATENTS = Latents(
    images=torch.zeros(6, 4, 16, 16),
    masked=torch.ones(6, 3, 4, 16, 16),
    masks=torch.zeros(6, 3, 16, 16),
    covered=torch.full((4, 16, 16), 2.0),
)


def test_so_many_holes_as_the_recipe_says_are_the_whole_picture() -> None:
    tokens = torch.arange(7)[:, None].expand(7, 5)
    recipe = Recipe(name="holes", batch=400, full_holes=0.75)
    batch = draw_batch(LATENTS, tokens, recipe, torch.Generator().manual_seed(0))
    whole = batch["mask"].mean((1, 2, 3)) == 1
    assert 0.7 < float(whole.float().mean()) < 0.8
    assert torch.equal(batch["masked"].mean((1, 2, 3)), torch.where(whole, 2.0, 1.0))


def test_a_net_that_paints_from_words_sees_no_hole() -> None:
    tokens = torch.zeros(7, 5, dtype=torch.int64)
    recipe = Recipe(name="words", channels=4, batch=8)
    batch = draw_batch(LATENTS, tokens, recipe, torch.Generator().manual_seed(0))
    assert sorted(batch) == ["clean", "noise", "timesteps", "tokens"]


def test_only_the_inside_of_a_hole_weighs_one_where_its_edge_weighs_more() -> None:
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:7, 2:7] = 1
    weights = weigh_cells(mask, Recipe(name="edge", keep_weight=0.25, edge_weight=3.0))[0, 0]
    assert weights[4, 4] == 1
    assert weights[2, 4] == 4
    assert weights[0, 0] == 0.25


@pytest.mark.slow
def test_a_recipe_is_trained_side_by_side_and_written_as_stock_folders(tmp_path: Path) -> None:
    shared = "scenes = 24\nbatch = 2\nunet_steps = 2\nvae_steps = 1\ninitial = 'zero'\n"
    donors = "text = 'holes'\nvae = 'holes'\nlatent = 32\n"
    recipes = {
        "words": "channels = 4\n",
        "holes": "latent = 32\nfull_holes = 0.5\n",
        "later": f"channels = 4\n{donors}",
    }
    for name, more in recipes.items():
        (tmp_path / f"{name}.toml").write_text(shared + more, encoding="utf-8")
    script = [sys.executable, str(WORLDS.parent / "train_world.py")]
    places = ["--out", "made", "--work", "work"]
    early = subprocess.run(
        [*script, "later.toml", *places], cwd=tmp_path, capture_output=True, text=True
    )
    assert early.returncode == 1
    assert "train holes first, with the same --out" in early.stderr
    subprocess.run([*script, "words.toml", "holes.toml", *places], cwd=tmp_path, check=True)
    subprocess.run([*script, "later.toml", *places], cwd=tmp_path, check=True)
    for name, kind, channels in (
        ("words", StableDiffusionPipeline, 4),
        ("holes", StableDiffusionInpaintPipeline, 9),
        ("later", StableDiffusionPipeline, 4),
    ):
        pipeline = kind.from_pretrained(tmp_path / "made" / name)
        assert pipeline.unet.config.in_channels == channels
        for file in (tmp_path / "made" / name).rglob("*.json"):
            assert str(tmp_path) not in file.read_text(encoding="utf-8")
    weights = "vae/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "made/later" / weights).read_bytes() == (
        tmp_path / "made/holes" / weights
    ).read_bytes()
