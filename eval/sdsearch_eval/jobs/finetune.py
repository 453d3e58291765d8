"""Fine-tuning: a long recovery with its values before and after, pictures and weights file."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING

from sdsearch.files import write_atomic
from sdsearch.study import read_study
from sdsearch_eval.bench import has_recovered, measure_unet, save_recovered
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.jobs.workspace import find_architecture, only_run, open_bench, open_console
from sdsearch_eval.pictures import draw_comparison
from sdsearch_eval.recovery import Lessons, finetune_student
from sdsearch_eval.sampling import generate
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from rich.console import Console

    from sdsearch.labels import LongRecovery
    from sdsearch.study import FinetuneRequest
    from sdsearch.unet import Architecture
    from sdsearch_eval.bench import Bench
    from sdsearch_eval.world import World

MOST_IMAGES, PICTURED = 4096, 4


def finetune_architecture(request: FinetuneRequest) -> None:
    """Recover one architecture by the long recipe of its study, with values and pictures.

    Weights, `values.json` (before and after, as a label measures them), `log.jsonl` and pictures
    are in the study's `recovered` folder; a killed run continues from its last checkpoint.
    """
    study, world = read_study(request.study), open_world(request.processes)
    arch = find_architecture(study, request.arch_key)
    recipe, place = study.config.export.recovery, study.finetuned_dir(arch.key)
    console = open_console(world)
    weights = place / "weights.safetensors"
    with only_run(study, world):
        bench = open_bench(study, console, world)
        if not has_recovered(arch, weights, bench):
            run_long_recovery(arch, bench, recipe, place, world, study.features_dir, console)
        world.agree()
    console.print(f"recovered weights: {weights}", soft_wrap=True)


def run_long_recovery(
    arch: Architecture,
    bench: Bench,
    recipe: LongRecovery,
    folder: Path,
    world: World,
    features: Path,
    console: Console,
) -> None:
    """Train the student of `arch` and write weights, values, log and pictures into `folder`."""
    protocol = bench.protocol.model_copy(update={"recovery": recipe})
    content = {"recovery": recipe.model_dump(mode="json"), "bench": bench.content}
    cache = TensorCache(features, content)
    images = min(MOST_IMAGES, recipe.batch_size * recipe.steps)
    lessons = Lessons(bench.teacher, protocol, bench.seed, cache, images)
    if world.is_first:
        lessons.make(0)  # computes the pool that the others read
    world.agree()
    unet = bench.teacher.student(arch)
    values = folder / "values.json"
    if world.is_first and not values.is_file():
        write_atomic(values, json.dumps({"before": measured(unet, bench)}, indent=2))

    def report(step: int, row: dict[str, float], student: UNet2DConditionModel) -> None:
        if step % recipe.picture_every == 0 or step == recipe.steps:
            losses = ", ".join(f"{name} {value:.4f}" for name, value in row.items())
            console.print(f"step {step} of {recipe.steps}: {losses}")
            student.eval()
            write_atomic(folder / f"step-{step:06d}.png", picture(student, bench))
            student.train()

    finetune_student(unet, arch, lessons, recipe, folder, world, report)
    if world.is_first:
        save_recovered(unet, arch, bench, folder / "weights.safetensors")
        known = json.loads(values.read_text(encoding="utf-8"))
        write_atomic(values, json.dumps({**known, "after": measured(unet, bench)}, indent=2))


def measured(unet: UNet2DConditionModel, bench: Bench) -> dict[str, dict[str, float | int | None]]:
    """The values of a label for a student as it is, by name: value, se and n."""
    found = measure_unet(unet, bench.inputs, bench)
    return {name: value.model_dump(mode="json") for name, value in found.items()}


def picture(unet: UNet2DConditionModel, bench: Bench) -> bytes:
    """A PNG of the first few samples as the student paints them now."""
    index = list(range(min(PICTURED, len(bench.samples))))
    samples = [bench.samples[i] for i in index]
    made = generate(unet, bench.teacher, bench.inputs.select(index), samples, bench.protocol)
    buffer = BytesIO()
    draw_comparison(samples, {"student": made.composited}, {}).save(buffer, "PNG")
    return buffer.getvalue()
