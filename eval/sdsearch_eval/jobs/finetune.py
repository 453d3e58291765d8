"""Fine-tuning: a long recovery with its values before and after, pictures and weights file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.console import progress_bar, say
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.keys import content_key
from sdsearch.labels import RecoveryValues, read_recovery_values
from sdsearch.study import read_study
from sdsearch_eval.bench import has_recovered, load_recovered, measure_unet, save_recovered
from sdsearch_eval.jobs.workspace import find_architecture, only_run, open_bench, open_console
from sdsearch_eval.pictures import draw_comparison
from sdsearch_eval.planning import settle_recovery
from sdsearch_eval.recovery import (
    CHECKPOINT,
    Course,
    LatentFile,
    Photos,
    Watch,
    begin_recovery,
    fill_latents,
    finetune_student,
    open_source,
)
from sdsearch_eval.sampling import cast_unet, generate
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from rich.console import Console
    from rich.progress import Progress as Bar

    from sdsearch.labels import LongRecovery, Measurement
    from sdsearch.study import FinetuneRequest, StudyFolder
    from sdsearch.unet import Architecture
    from sdsearch_eval.bench import Bench
    from sdsearch_eval.data import Sample
    from sdsearch_eval.sampling import Generated
    from sdsearch_eval.world import World

When = Literal["before", "after"]
PICTURED = 4
SILENCE = 60.0
"""Seconds without a line where no bar can be drawn."""


def finetune_architecture(request: FinetuneRequest) -> None:
    """Recover one architecture by the long recipe of its study, with values and pictures.

    Weights, `values.json` (before and after, as a label measures them), `log.jsonl` and pictures
    are in the study's `recovered` folder; a killed run continues from its last checkpoint, which is
    removed once the weights are written.
    """
    study, world = read_study(request.study), open_world(request.processes)
    arch = find_architecture(study, request.arch_key)
    study = settle_recovery(study, arch, world.device)
    place, console = study.finetuned_dir(arch.key), open_console(world)
    weights = place / "weights.safetensors"
    with only_run(study, world):
        study.make(place)
        bench = open_bench(study, console, world)
        values = Values(place / "values.json", _name_course(arch, bench, study))
        if not has_recovered(arch, weights, bench):
            if world.is_first:
                values.forget("after")  # of weights that are no more
            train_student(arch, bench, study, world, console)
        if world.is_first:
            (place / CHECKPOINT).unlink(missing_ok=True)
            values.keep("after", lambda: measured(load_recovered(arch, bench, weights), bench))
        world.agree()
    console.print(f"recovered weights: {weights}", soft_wrap=True)


def train_student(
    arch: Architecture, bench: Bench, study: StudyFolder, world: World, console: Console
) -> None:
    """Train the student of `arch`; write its weights, log and pictures, and the values before."""
    config, folder = study.config, study.finetuned_dir(arch.key)
    recipe, teacher = config.export.recovery, bench.teacher
    course = Course(
        of=_name_course(arch, bench, study),
        arch=arch,
        teacher=teacher,
        source=open_source(config.protocol, recipe, bench.seed),
        recipe=recipe,
        seed=bench.seed,
        resolution=config.protocol.resolution,
        machine=config.machine,
    )
    if world.is_first:
        values = Values(folder / "values.json", course.of)
        values.keep("before", lambda: measured(fresh_student(arch, bench), bench))
    with progress_bar(console, window=600.0) as bar:
        made_of = [bench.content, bench.seed]
        course = encode_photos(course, made_of, study.features_dir, world, bar)
        progress = begin_recovery(teacher.student(arch), recipe, folder / CHECKPOINT, course.of)
        watch = Watch(
            Narrator(bar, console, recipe).tell,
            lambda step, unet: write_atomic(folder / f"step-{step:06d}.png", picture(unet, bench)),
        )
        unet = finetune_student(progress, course, folder, world, watch)
    if world.is_first:
        save_recovered(unet, arch, bench, folder / "weights.safetensors")


def _name_course(arch: Architecture, bench: Bench, study: StudyFolder) -> str:
    """A key of all that decides what is learned, but for the photos: some may be added."""
    recipe = study.config.export.recovery.identity
    return content_key([arch.key, bench.content, bench.seed, recipe])


def encode_photos(
    course: Course, made_of: list[Any], folder: Path, world: World, bar: Bar
) -> Course:
    """The course with the latents of all its photos, where the recipe wants them encoded once.

    `made_of` names all that decides what they are, beside photos and recipe.
    """
    source, recipe = course.source, course.recipe
    if not recipe.cache_latents or not isinstance(source, Photos):
        return course
    seen: list[Any] = [recipe.masks, recipe.crop, recipe.flip, recipe.cache_latents]
    seen += [recipe.whole_holes] if recipe.whole_holes else []
    name = content_key([*made_of, seen, source.stamp(), "sealed"])
    latents = LatentFile(
        folder / f"latents-{name}.bin",
        source.count,
        recipe.cache_latents,
        course.latent_shape,
        is_masked=course.sees_masks,
    )
    if world.is_first:
        latents.make()
    world.agree()
    task = bar.add_task("latents", total=None)
    fill_latents(
        latents,
        source,
        course.teacher,
        world,
        course.machine.workers,
        lambda done, total: bar.update(task, completed=done, total=total),
    )
    world.agree()
    bar.remove_task(task)
    return replace(course, latents=latents)


@dataclass(slots=True)
class Narrator:
    """Tells how a recovery goes: on a bar, and in lines where none can be drawn."""

    bar: Bar
    console: Console
    recipe: LongRecovery
    told_at: float = -SILENCE

    def tell(self, step: int, losses: dict[str, float]) -> None:
        """Show the losses, the speed and what is left after a step."""
        if not losses:
            self.bar.add_task("recovery", total=self.recipe.steps, completed=step)
            return
        (task,) = self.bar.tasks
        self.bar.update(task.id, completed=step)
        said = [f"{name} {value:.4f}" for name, value in losses.items()]
        if task.speed:
            said.append(f"{task.speed * self.recipe.batch_size:.3g} images/s")
        self.bar.update(task.id, description=", ".join(said))
        is_due = step == self.recipe.steps or time.monotonic() - self.told_at >= SILENCE
        if is_due and not self.console.is_terminal:
            self.told_at = time.monotonic()
            if task.time_remaining is not None:
                said.append(f"{timedelta(seconds=round(task.time_remaining))} left")
            self.console.print(
                f"step {step} of {self.recipe.steps}: {', '.join(said)}", soft_wrap=True
            )


@dataclass(frozen=True, slots=True)
class Values:
    """The file of what was measured before and after a recovery; of another one it is void."""

    path: Path
    of: str

    def keep(self, when: When, measure: Callable[[], dict[str, Measurement]]) -> None:
        """Measure and write the values of `when`, unless they are there."""
        if not getattr(self._read(), when):
            self._write(when, measure())

    def forget(self, when: When) -> None:
        """Have the values of `when` measured again."""
        if getattr(self._read(), when):
            self._write(when, {})

    def _write(self, when: When, values: dict[str, Measurement]) -> None:
        known = self._read().model_copy(update={when: values})
        write_atomic(self.path, known.to_json(2))

    def _read(self) -> RecoveryValues:
        try:
            known = read_recovery_values(self.path)
        except InputError as error:
            say(str(error))
            self.path.unlink()
            known = None
        return known if known and known.of == self.of else RecoveryValues(of=self.of)


def fresh_student(arch: Architecture, bench: Bench) -> UNet2DConditionModel:
    """The student with inherited weights, in the precision that is measured in."""
    return cast_unet(bench.teacher.student(arch), bench.protocol.dtype)


def measured(unet: UNet2DConditionModel, bench: Bench) -> dict[str, Measurement]:
    """The values of a label for a student as it is, by name."""
    return measure_unet(unet, bench.inputs, bench)


def picture(unet: UNet2DConditionModel, bench: Bench) -> bytes:
    """A PNG of the first few samples as the student paints them now."""
    index = list(range(min(PICTURED, len(bench.samples))))
    samples = [bench.samples[i] for i in index]
    made = generate(unet, bench.teacher, bench.inputs.select(index), samples, bench.protocol)
    return draw_painted(samples, "student", made)


def draw_painted(samples: Sequence[Sample], name: str, made: Generated) -> bytes:
    """A PNG of samples with what `name` painted into them."""
    buffer = BytesIO()
    draw_comparison(samples, {name: made.composited}, {}).save(buffer, "PNG")
    return buffer.getvalue()
