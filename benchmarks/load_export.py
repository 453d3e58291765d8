"""Load an exported pipeline with whatever releases are installed, and say what came of it as JSON.

    python benchmarks/load_export.py FOLDER SIZE OUT.npz    # SIZE 0: load, but paint nothing

It needs diffusers and transformers alone, old or new: `old_loaders.py` runs it with both and
compares. It says whether sdsearch is installed beside them, and makes it impossible to import, so
that what loads here loads without it. Tensors are named by their values, since releases name those
of a CLIP tower differently.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

OURS = ("sdsearch", "sdsearch_eval")
MODULES = ("unet", "vae", "text_encoder", "safety_checker", "image_encoder")
CAPTIONS = ["a red house near a lake, two trees", "", "größe 42!"]


def main() -> None:
    """Load the plain files in float32 and the variant in float16; print and write what they are."""
    warnings.filterwarnings("ignore")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    folder, size, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    said: dict[str, Any] = {
        "versions": {one.__name__: one.__version__ for one in (diffusers, transformers)},
        "sdsearch": shut_out(OURS),
    }
    arrays: dict[str, np.ndarray] = {}
    for variant, dtype in ((None, torch.float32), ("fp16", torch.float16)):
        # The class that model_index.json names.
        pipeline = diffusers.DiffusionPipeline.from_pretrained(
            folder, variant=variant, torch_dtype=dtype, local_files_only=True
        )
        key = variant or "plain"
        said[key] = {"class": type(pipeline).__name__, **describe(pipeline)}
        if size and variant is None:
            arrays |= paint(pipeline, size)
        del pipeline
    np.savez(out, **arrays)
    print(json.dumps(said))


def shut_out(names: tuple[str, ...]) -> str:
    """Make packages that are not to be used impossible to import; whether they were there."""
    found = any(importlib.util.find_spec(name) for name in names)
    for name in names:
        assert name not in sys.modules, f"{name} was imported before it could be shut out"
        sys.modules[name] = None  # type: ignore[assignment]
    return "installed, shut out" if found else "not installed"


def describe(pipeline: Any) -> dict[str, Any]:
    """Precision and values of every module, and what the tokenizer makes of captions."""
    found: dict[str, Any] = {"tokens": pipeline.tokenizer(CAPTIONS).input_ids}
    for name in MODULES:
        module = getattr(pipeline, name, None)
        if module is not None:
            found[name] = {"dtype": str(module.dtype), "values": digest(module)}
    return found


def digest(module: torch.nn.Module) -> str:
    """A hash of all tensors of a module, whatever their names."""
    each = sorted(
        hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
        for tensor in module.state_dict().values()
    )
    return hashlib.sha256("".join(each).encode()).hexdigest()[:16]


@torch.no_grad()
def paint(pipeline: Any, size: int) -> dict[str, np.ndarray]:
    """A picture by the loaded class, the embedded words, what a safety checker sees, as numbers.

    One step of inpainting, or four from words.
    """
    checker, extractor = pipeline.safety_checker, pipeline.feature_extractor
    parts = {
        name: getattr(pipeline, name)
        for name in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    }
    unchecked = type(pipeline)(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    unchecked.set_progress_bar_config(disable=True)
    side = np.linspace(0, 255, size, dtype=np.uint8)
    picture = Image.fromarray(np.stack([np.tile(side, (size, 1))] * 3, axis=-1))
    asked: dict[str, Any] = {"num_inference_steps": 4}
    if not isinstance(pipeline, diffusers.StableDiffusionPipeline):
        mask = np.zeros((size, size), np.uint8)
        mask[size // 4 : size // 2, size // 4 : size // 2] = 255
        asked = {"image": picture, "mask_image": Image.fromarray(mask), "strength": 1.0}
        asked["num_inference_steps"] = 1
    image = unchecked(
        CAPTIONS[0],
        height=size,
        width=size,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **asked,
    ).images[0]
    ids = pipeline.tokenizer(
        CAPTIONS, padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    found = {"image": image, "words": pipeline.text_encoder(ids)[0].numpy()}
    if checker is not None:
        pixels = extractor(picture, return_tensors="pt").pixel_values
        found["checked"] = checker.visual_projection(checker.vision_model(pixels)[1]).numpy()
    return found


if __name__ == "__main__":
    main()
