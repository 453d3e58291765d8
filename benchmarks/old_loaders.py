"""Do exports load where users are? diffusers 0.31 with transformers 4.46, against today's.

    python -m benchmarks.old_loaders [--tiny] [--old PYTHON] | tee benchmarks/old_loaders.txt

Makes teachers in the shapes that break older loaders, and one of random weights at the geometry of
SD v1.5-inpainting (not with --tiny); exports a pruned UNet of each, of the tiny teacher that paints
from words by a study that does so; then loads every export by its stock class in two environments,
where nothing of sdsearch can be imported, and compares class, precision, tokens and every tensor,
bit for bit, and one step of inpainting or four from words within rounding. The old environment is
made in a temporary folder, unless --old names the Python of one. The committed output is
old_loaders.txt; exit code 1 on a difference.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file

import sdsearch
from benchmarks.random_study import find_geometry, randomize, write_pipeline
from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.design import Design
from sdsearch.export.index import INPAINT, PAINT
from sdsearch.space import Meter
from sdsearch.weights import write_noted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sdsearch.labels import Task

OLD = (
    "torch==2.13.0",
    "diffusers==0.31.0",
    "transformers==4.46.3",
    "huggingface_hub<0.27",
    "numpy<2.3",
    "accelerate",
    "pillow",
)
ROUNDING = 2e-5
"""Of images in [0, 1] and of embeddings: kernels of one release of torch in another order."""
CPU = torch.device("cpu")
TEXT = "text_encoder/model.safetensors"
WORDS = Path(__file__).resolve().parent.parent / "assets" / "worlds" / "words-16"


@dataclass(frozen=True, slots=True)
class Case:
    """A teacher, which member of its space is exported, and how large it paints (0: not).

    `kind` is the stock class that its export must load as.
    """

    name: str
    write_teacher: Callable[[Path], object]
    space: str
    member: str
    size: int = 64
    task: Task = "inpaint"

    @property
    def kind(self) -> str:
        """By the task of its study; each teacher here can do what it is asked for."""
        return PAINT if self.task == "text-to-image" else INPAINT


def shipped(folder: Path) -> None:
    """The tiny pipeline as it comes, but elsewhere."""
    load_tiny().save_pretrained(folder)


def saved_today(folder: Path) -> None:
    """As today's releases save what was never older: one tokenizer file, towers without prefix."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=16))
    pipeline = load_tiny()
    pipeline.register_modules(
        safety_checker=randomize(checker, CPU),
        feature_extractor=CLIPImageProcessor(
            size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
        ),
    )
    pipeline.register_to_config(requires_safety_checker=True)
    pipeline.save_pretrained(folder)
    tensors = load_file(folder / TEXT)
    bare = {name.removeprefix("text_model."): one for name, one in tensors.items()}
    save_file(bare, folder / TEXT, {"format": "pt"})
    if (folder / "tokenizer" / "vocab.json").exists():
        raise SystemExit("today's release was to write one file for the tokenizer")


def half_only(folder: Path) -> None:
    """A 4-channel text-to-image teacher of which only the variant fp16 is there, in shards."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    pipeline = load_tiny()
    unet = UNet2DConditionModel.from_config({**pipeline.unet.config, "in_channels": 4})
    parts = {**pipeline.components, "unet": randomize(unet, CPU)}
    made = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    for part in (made.vae, made.text_encoder):
        torch.nn.Module.to(part, torch.float16)
    made.save_pretrained(folder, variant="fp16", max_shard_size="400KB")


def load_tiny() -> Any:
    """The tiny pipeline, by its stock class."""
    from diffusers import StableDiffusionInpaintPipeline

    return StableDiffusionInpaintPipeline.from_pretrained(asset_path(TINY_TEACHER))


TINY = (
    Case("tiny, as it comes", shipped, "tiny", "bk-tiny"),
    Case(
        "tiny, by transformers 5 alone, with a safety checker",
        saved_today,
        "tiny",
        "bk-small; level 0: attention up 01; level 1: attention down 1",
    ),
    Case("tiny, 4 channels, fp16 shards only", half_only, "tiny", "bk-base"),
    Case(
        "words-16, 4 channels, from a text-to-image study",
        lambda folder: shutil.copytree(WORDS, folder),
        "tiny",
        "bk-small",
        task="text-to-image",
    ),
)
FULL = Case(
    "SD v1.5-inpainting",
    lambda folder: write_pipeline(folder, find_geometry("full"), CPU),
    "sd14",
    "bk-small",
    0,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Export, load in both environments, compare; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="without the full geometry")
    parser.add_argument("--old", help="the Python of an environment that has the old pair")
    parser.add_argument("--export", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.export:
        export(*map(Path, options.export))
        return 0
    differences = 0
    with TemporaryDirectory() as place:
        old = options.old or make_environment(Path(place) / "old")
        for number, case in enumerate(TINY if options.tiny else (*TINY, FULL)):
            home = Path(place) / str(number)
            folder = make_export(case, home)
            found = [load(python, folder, case.size, home) for python in (sys.executable, old)]
            differences += compare(case, folder, *found)
    print("no differences" if differences == 0 else f"{differences} differences")
    return 1 if differences else 0


def make_environment(folder: Path) -> str:
    """The Python of a fresh environment with the old pair."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *OLD], check=True)
    return python


def make_export(case: Case, home: Path) -> Path:
    """Teacher, study, a student with inherited weights, and its export; returns the folder."""
    teacher, place = home / "teacher", home / "study"
    case.write_teacher(teacher)
    study = sdsearch.create_study(
        place, teacher=teacher, images="scenes", task=case.task, space=case.space
    )
    arch = sdsearch.Architecture.parse(case.member)
    student = sdsearch.inherit_unet(arch, teacher)
    weights = save(student.state_dict())
    write_noted(study.folder.recovered_file(arch.key), weights, "inherited for this check")
    design = Design.model_validate(
        {
            "name": "autobuild-1",
            "method": "autobuild",
            "rank": 1,
            "arch_key": arch.key,
            "architecture": arch,
            **Meter(study.space()).member(arch),
            "predicted": {"target": 0.0, "se": 0.0},
            "score": 0.0,
            "reasons": ("made for this check",),
        }
    )
    file = home / "design.json"
    file.write_text(design.model_dump_json())
    del student, weights
    line = [sys.executable, "-m", "benchmarks.old_loaders", "--export", str(place), str(file)]
    said = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
    files = [path for path in (place / "pipelines").rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"== {case.name}: {case.member}\n   {len(files)} files, {size:,.1f} MB, {said.strip()}")
    return place / "pipelines" / design.name


def export(place: Path, file: Path) -> None:
    """Export one design in a process of its own, and say what that took."""
    from sdsearch.export import export_pipeline
    from sdsearch.unet import teacher_identity

    study = sdsearch.load_study(place).folder
    identity = teacher_identity(study.config.teacher.pipeline)
    before, start = peak_gb(), time.process_time()
    export_pipeline(Design.model_validate_json(file.read_text()), study, identity)
    seconds = time.process_time() - start
    print(f"{seconds:.0f} CPU seconds, peak memory {peak_gb():.1f} GB ({before:.1f} before)")


def peak_gb() -> float:
    """The most that this process has held, in 10^9 bytes; `getrusage` counts its parent too."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def load(python: str, folder: Path, size: int, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an environment makes of an export: its words, and its arrays."""
    out = home / "found.npz"
    script = Path(__file__).with_name("load_export.py")
    line = [python, str(script), str(folder), str(size), str(out)]
    done = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, cwd=home)
    with np.load(out) as arrays:
        return json.loads(done.stdout.splitlines()[-1]), dict(arrays)


def compare(
    case: Case,
    folder: Path,
    today: tuple[dict[str, Any], dict[str, Any]],
    old: tuple[dict[str, Any], dict[str, Any]],
) -> int:
    """Print how an export was loaded by both; how many things differ."""
    count = 0
    for said, _ in (today, old):
        versions = " ".join(f"{name} {one}" for name, one in said["versions"].items())
        print(f"   {versions}, sdsearch {said['sdsearch']}")
    for variant in ("plain", "fp16"):
        one, other = today[0][variant], old[0][variant]
        odd = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        odd += [f"not {case.kind}"] if one["class"] != case.kind else []
        kinds = {
            said["dtype"] for said in one.values() if isinstance(said, dict) and "dtype" in said
        }
        print(
            f"   {variant}: {one['class']}, {', '.join(sorted(kinds))}: "
            + (f"DIFFERENT: {odd}" if odd else f"all {len(one)} alike, bit for bit")
        )
        count += len(odd) + (len(kinds) != 1)
    if today[1].keys() != old[1].keys():
        print(f"   DIFFERENT outputs: {sorted(today[1].keys() ^ old[1].keys())}")
        count += 1
    for name in sorted(today[1].keys() & old[1].keys()):
        far = float(np.abs(today[1][name] - old[1][name]).max())
        spread = float(np.std(today[1][name]))
        alike = far <= ROUNDING and spread > 0
        print(f"   {name}: at most {far:.1g} apart{'' if alike else ': DIFFERENT'}")
        count += not alike
    for file in folder.rglob("*"):
        if file.is_file() and str(folder.parents[2]).encode() in file.read_bytes()[:10_000_000]:
            print(f"   {file.name} names a place of this machine")
            count += 1
    return count


if __name__ == "__main__":
    sys.exit(main())
