"""Does what `sdsearch check` says of other programs hold? Each is run on pruned tiny UNets.

    pip install DeepCache==0.1.1 tomesd==0.1.3 torchao==0.18.0
    python -m benchmarks.compatibility [--onnx] | tee benchmarks/compatibility.txt

Every program is put on the tiny pipeline with a student of it, which then paints two steps. The
student's verdict stands beside what happened; "partly" is what runs and changes nothing. With
--onnx, which takes a minute each, students are exported too and compared with torch. A program that
is not installed is said and left out. Exit code 1 where a verdict and a run disagree.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
from safetensors.torch import load_file

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.check.compatibility import judge_compatibility
from sdsearch.runtimes.onnx import Denoise, Part, _export_part
from sdsearch.unet import TINY, Architecture, unet_config
from sdsearch.weights import inherit_weights

if TYPE_CHECKING:
    from collections.abc import Callable

MEMBERS = (
    "teacher",
    "bk-small",
    "bk-tiny",
    "mid resnet",
    "level 0: attention down 00 up 000",
    "level 0: attention down 10 up 010; level 3 depth 0",
)


def paint(pipeline: Any) -> torch.Tensor:
    """Two steps from one noise, as numbers."""
    picture = Image.new("RGB", (64, 64), "skyblue")
    return torch.from_numpy(
        pipeline(
            "a lake",
            image=picture,
            mask_image=Image.new("L", picture.size, 255),
            strength=1.0,
            height=64,
            width=64,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(0),
            output_type="np",
        ).images
    )


def cache_deep(pipeline: Any) -> None:
    """Skip what DeepCache skips in every second step."""
    from DeepCache import DeepCacheSDHelper

    helper = DeepCacheSDHelper(pipe=pipeline)
    helper.set_params(cache_interval=2, cache_branch_id=0)
    helper.enable()


def merge_tokens(pipeline: Any) -> None:
    """Merge half of the tokens where tomesd does by default."""
    import tomesd

    tomesd.apply_patch(pipeline, ratio=0.5)


def quantize(pipeline: Any) -> None:
    """Keep weights of linear layers in 8 bits."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(pipeline.unet, Int8WeightOnlyConfig())


PROGRAMS: dict[str, Callable[[Any], None]] = {
    "DeepCache": cache_deep,
    "tomesd": merge_tokens,
    "torchao": quantize,
}


def run(program: str, pipeline: Any, plain: torch.Tensor) -> str:
    """What a program did to what the pipeline paints, as the status of a verdict, and more."""
    try:
        PROGRAMS[program](pipeline)
        made = paint(pipeline)
    except Exception as error:  # noqa: BLE001 (whatever it raises is the finding)
        return f"does not: {type(error).__name__}: {' '.join(str(error).split())[:70]}"
    moved = float((made - plain).abs().mean())
    return f"works: changes a picture by {moved:.2g}" if moved else "partly: changes nothing"


def export(unet: Any) -> str:
    """How far onnxruntime is from torch, after an export."""
    latent, words = torch.randn(2, 9, 16, 16), torch.randn(2, 77, TINY.cross_attention_dim)
    inputs = {"sample": latent, "timestep": torch.tensor([900, 100])}
    part = Part(Denoise(unet), {**inputs, "encoder_hidden_states": words}, "out_sample")
    with TemporaryDirectory() as folder:
        try:
            return f"works: differs by {_export_part(part, Path(folder) / 'unet' / 'm.onnx'):.1g}"
        except Exception as error:  # noqa: BLE001 (as above)
            return f"does not: {type(error).__name__}: {' '.join(str(error).split())[:70]}"


def main() -> int:
    """Print a line for every program and student."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--onnx", action="store_true")
    options = parser.parse_args()
    folder = asset_path(TINY_TEACHER)
    state = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    there = [name for name in PROGRAMS if importlib.util.find_spec(name)]
    print(f"not installed: {', '.join(PROGRAMS.keys() - set(there)) or 'none'}")
    wrong = 0
    for words in MEMBERS:
        arch = Architecture.parse(words)
        verdicts = judge_compatibility(unet_config(arch, TINY), arch, TINY)

        def load(arch: Architecture = arch) -> Any:
            unet = inherit_weights(arch, TINY, state).eval()
            pipeline = StableDiffusionInpaintPipeline.from_pretrained(
                folder, unet=unet, local_files_only=True
            )
            pipeline.set_progress_bar_config(disable=True)
            return pipeline

        plain = paint(load())
        found = {name: run(name, load(), plain) for name in there}
        if options.onnx:
            found["ONNX"] = export(load().unet)
        for name, happened in found.items():
            agrees = happened.startswith(verdicts[name].status)
            wrong += not agrees
            print(f"{'ok   ' if agrees else 'WRONG'} {words}: {name} {happened}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
