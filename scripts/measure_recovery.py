"""Measure what recovery brings and write docs/recovery.md: losses, steps, members, seeds.

    python scripts/measure_recovery.py

bk-small and two random members of the tiny space, three label seeds each, under plain fine-tuning,
distillation of the output, output and features, and more steps of the best. About 15 minutes on 2
cores. Every measurement is one JSON file in --work, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.files import write_atomic
from sdsearch.labels import Protocol, RecoveryLosses, RecoveryRecipe, ResolvedProtocol
from sdsearch.pipelines import open_pipeline
from sdsearch.space import search_space
from sdsearch_eval.bench import evaluate_architecture, prepare_bench
from sdsearch_eval.models import load_teacher

if TYPE_CHECKING:
    from sdsearch.unet import Architecture
    from sdsearch_eval.models import Teacher

SEEDS, SAMPLES = (0, 1, 2), 96
COLUMNS = ("fd_efflite0", "lpips_like_efflite0", "latent_mse_vs_teacher")
OUTPUT, TASK = RecoveryLosses(), RecoveryLosses(output=0, task=1)
RECIPES = {
    "none": RecoveryRecipe(steps=0),
    "task, 30 steps": RecoveryRecipe(losses=TASK),
    "output, 15 steps": RecoveryRecipe(steps=15),
    "output, 30 steps": RecoveryRecipe(),
    "output and features, 30 steps": RecoveryRecipe(losses=RecoveryLosses(feature=1.0)),
    "output, 60 steps": RecoveryRecipe(steps=60),
    "output, 120 steps": RecoveryRecipe(steps=120),
}

GAINS = (
    ("distillation over the task, 30 steps", "task, 30 steps", "output, 30 steps"),
    ("features besides, 30 steps", "output, 30 steps", "output and features, 30 steps"),
    ("30 steps over 15", "output, 15 steps", "output, 30 steps"),
    ("60 steps over 30", "output, 30 steps", "output, 60 steps"),
    ("120 steps over 60", "output, 60 steps", "output, 120 steps"),
)


def members() -> dict[str, Architecture]:
    """The members that are recovered, by name."""
    space = search_space("tiny")
    first, second = space.sample(2, np.random.default_rng(7))
    return {
        "bk-small": space.members["bk-small"],
        f"random {first.key}": first,
        f"random {second.key}": second,
    }


def measure(arch: Architecture, name: str, seed: int, teacher: Teacher, work: Path) -> Path:
    """The file of one measurement, made if it is not there."""
    protocol = Protocol(samples=SAMPLES, recovery=RECIPES[name])
    file = work / f"{arch.key}-{ResolvedProtocol(protocol=protocol).key}-s{seed}.json"
    if not file.exists():
        bench = prepare_bench(protocol, seed, teacher, work / "features")
        rows = work / "rows" / file.stem
        label = evaluate_architecture(arch, bench, rows, rows / "weights.safetensors")
        assert label is not None
        write_atomic(file, label.model_dump_json())
        print(f"{arch.key} {name} seed {seed}: {label.scalar(COLUMNS[0]):.1f}", flush=True)
    return file


def describe(found: dict[str, dict[str, list[dict[str, float]]]]) -> str:
    """The document: for every member a table of recipes with mean and deviation over seeds."""
    parts = [HEAD.format(n=SAMPLES, seeds=len(SEEDS), torch=torch.__version__)]
    for member, recipes in found.items():
        parts += [f"## {member}\n", "| recovery | " + " | ".join(COLUMNS) + " | seconds |"]
        parts += ["|---" * (len(COLUMNS) + 2) + "|"]
        for recipe, runs in recipes.items():
            cells = [
                f"{np.mean([r[c] for r in runs]):.4g} ± {np.std([r[c] for r in runs], ddof=1):.2g}"
                for c in (*COLUMNS, "seconds")
            ]
            parts += [f"| {recipe} | " + " | ".join(cells) + " |"]
        parts += ["", "| gain, paired over seeds | " + " | ".join(COLUMNS) + " |"]
        parts += ["|---" * (len(COLUMNS) + 1) + "|"]
        for title, worse, better in GAINS:
            cells = [gain(recipes[worse], recipes[better], column) for column in COLUMNS]
            parts += [f"| {title} | " + " | ".join(cells) + " |"]
        parts += [""]
    return "\n".join(parts)


def gain(worse: list[dict[str, float]], better: list[dict[str, float]], column: str) -> str:
    """By how much one recipe is below another, seed by seed, with its standard error."""
    gains = np.array([a[column] - b[column] for a, b in zip(worse, better, strict=True)])
    return f"{gains.mean():.3g} ± {gains.std(ddof=1) / len(gains) ** 0.5:.2g}"


HEAD = """# What a short recovery brings (tiny model)

Every number is of the tiny model and comes from `python scripts/measure_recovery.py` on 2 CPU cores
with torch {torch}: {n} test scenes, batches of 16, {seeds} label seeds; ± is the standard deviation
over them, and rows of a member share scenes, masks and noise. Lower is better everywhere. `task` is
plain fine-tuning on the training target, `output` distils the teacher's answer, `features` adds its
half-level features (BK-SDM's pairs, derived for any member). `seconds` is recovery alone. The
second table of a member pairs recipes seed by seed: positive is better, ± one standard error of the
mean of {seeds} differences.
"""


def main() -> None:
    """Measure what is missing, write the document and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("work/recovery"))
    parser.add_argument("--out", type=Path, default=Path("docs/recovery.md"))
    options = parser.parse_args()
    torch.set_num_threads(Protocol().threads)
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for member, arch in members().items():
        for name in RECIPES:
            for seed in SEEDS:
                file = measure(arch, name, seed, teacher, options.work)
                label = json.loads(file.read_text(encoding="utf-8"))
                values = {column: label["values"][column]["value"] for column in COLUMNS}
                values["seconds"] = label["provenance"]["seconds"].get("recovery", 0.0)
                found.setdefault(member, {}).setdefault(name, []).append(values)
    text = describe(found)
    write_atomic(options.out, text)
    print(text)


if __name__ == "__main__":
    main()
