"""What a tiny Stable Diffusion learns from: scenes, crops of photographs, masks, captions."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from transformers import CLIPTokenizer
from world_recipe import PIXELS

from sdsearch_eval.data import draw_mask
from sdsearch_eval.scenes import RENDERER_VERSION, render_scene, split_seed

if TYPE_CHECKING:
    from pathlib import Path

    from world_recipe import Recipe

MASKS_PER_SCENE = 3
LONGEST_CAPTION = 32
SMALLEST_SIDE, LARGEST_SIDE = 72, 160
"""A photograph's shorter side in pixels, before a crop of 64 x 64 is taken from it."""


@dataclass(frozen=True, slots=True)
class TrainingScenes:
    """N training pictures: (N, 64, 64, 3) uint8 images, (N, 3, 64, 64) bool holes, N captions."""

    images: np.ndarray
    masks: np.ndarray
    captions: list[str]


def gather_scenes(recipe: Recipe, work: Path, photos: Path | None) -> TrainingScenes:
    """The recipe's rendered scenes, and its share of crops of photographs.

    Raises:
        SystemExit: the recipe has photographs, but no folder is named.
    """
    scenes = render_training_scenes(recipe.scenes, work)
    if not recipe.photos:
        return scenes
    if photos is None:
        raise SystemExit(f"{recipe.name} learns from photographs too: name their folder, --photos")
    count = round(recipe.scenes * recipe.photos / (1 - recipe.photos))
    crops = crop_photos(photos, count, recipe.seed)
    return TrainingScenes(
        np.concatenate([scenes.images, crops.images]),
        np.concatenate([scenes.masks, crops.masks]),
        [*scenes.captions, *crops.captions],
    )


def training_photos(folder: Path) -> dict[str, str]:
    """File names and captions of a folder's photographs, without every fourth by name."""
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    captions = {entry["file_name"]: entry["text"] for entry in map(json.loads, lines)}
    return {name: captions[name] for number, name in enumerate(sorted(captions)) if number % 4 != 3}


def crop_photos(folder: Path, count: int, seed: int) -> TrainingScenes:
    """Random crops of the training photographs, as often mirrored as not, three masks each."""
    named = training_photos(folder)
    names = list(named)
    chosen = [names[np.random.default_rng([seed, 6, k]).integers(len(names))] for k in range(count)]
    tasks = [(folder / name, (seed, 7, number)) for number, name in enumerate(chosen)]
    with multiprocessing.Pool() as pool:
        images, masks = zip(*pool.imap(_crop, tasks, chunksize=100), strict=True)
    return TrainingScenes(np.stack(images), np.stack(masks), [named[name] for name in chosen])


def _crop(task: tuple[Path, tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    file, seed = task
    rng = np.random.default_rng(seed)
    with Image.open(file) as opened:
        photo = opened.convert("RGB")
    # The crop's side in the photograph's own pixels, so that one resize does all.
    side = min(photo.size) * PIXELS / rng.uniform(SMALLEST_SIDE, LARGEST_SIDE)
    left, top = rng.uniform(0, photo.width - side), rng.uniform(0, photo.height - side)
    box = (left, top, left + side, top + side)
    crop = photo.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC, box, reducing_gap=2)
    masks = [draw_mask("mixed", rng, PIXELS) == 255 for _ in range(MASKS_PER_SCENE)]
    return np.asarray(crop)[:, :: rng.choice((1, -1))], np.stack(masks)


def _render(number: int) -> tuple[np.ndarray, np.ndarray, str]:
    scene = render_scene(split_seed("train", number))
    rng = np.random.default_rng([number, 1])
    masks = [draw_mask("mixed", rng, 64, scene.object_masks) == 255 for _ in range(MASKS_PER_SCENE)]
    return scene.image, np.stack(masks), scene.caption


def render_training_scenes(count: int, work: Path) -> TrainingScenes:
    """Render the first `count` training scenes, three mixed masks each, or read them again."""
    work.mkdir(parents=True, exist_ok=True)
    stem = work / f"scenes-v{RENDERER_VERSION}-{count}"
    captions_path = stem.with_suffix(".json")
    if not captions_path.exists():
        print(f"rendering {count} scenes", flush=True)
        with multiprocessing.Pool() as pool:
            images, masks, captions = zip(
                *pool.imap(_render, range(count), chunksize=100), strict=True
            )
        np.save(f"{stem}-images.npy", np.stack(images))
        np.save(f"{stem}-masks.npy", np.stack(masks))
        captions_path.write_text(json.dumps(captions), encoding="utf-8")
    captions = json.loads(captions_path.read_text(encoding="utf-8"))
    return TrainingScenes(np.load(f"{stem}-images.npy"), np.load(f"{stem}-masks.npy"), captions)


def tint_scenes(scenes: TrainingScenes, seed: int) -> TrainingScenes:
    """The same scenes, each in colours of its own: a gain and an offset for every channel.

    No caption tells such a tint, so a hole can only take it from around.
    """
    rng = np.random.default_rng([seed, 5])
    gain = rng.uniform(0.7, 1.3, (len(scenes.images), 1, 1, 3)).astype(np.float32)
    offset = rng.uniform(-25, 25, gain.shape).astype(np.float32)
    tinted = np.empty_like(scenes.images)
    for start in range(0, len(tinted), 1000):
        part = slice(start, start + 1000)
        pixels = scenes.images[part] * gain[part] + offset[part]
        tinted[part] = pixels.clip(0, 255).round()
    return TrainingScenes(tinted, scenes.masks, scenes.captions)


def build_tokenizer(captions: list[str], folder: Path) -> CLIPTokenizer:
    """A CLIP tokenizer whose merges spell the captions' words; other text falls back to bytes."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Whitespace
    from tokenizers.trainers import BpeTrainer

    letters = sorted(ByteLevel.alphabet())
    bpe = Tokenizer(BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = Whitespace()
    trainer = BpeTrainer(
        vocab_size=2000,
        min_frequency=1,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(
        sorted({word.lower() for caption in captions for word in caption.split()}), trainer
    )
    merges = json.loads(bpe.to_str())["model"]["merges"]
    pieces = [
        *letters,
        *(f"{letter}</w>" for letter in letters),
        *("".join(pair) for pair in merges),
    ]
    tokens = list(dict.fromkeys([*pieces, "<|startoftext|>", "<|endoftext|>"]))
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=LONGEST_CAPTION)
