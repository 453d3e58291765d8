"""Tuning: a teacher that paints from words learns to inpaint, by the steps of a long recovery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdsearch.console import progress_bar
from sdsearch.files import write_atomic
from sdsearch.keys import content_key
from sdsearch.pipelines import open_pipeline
from sdsearch.study import read_study
from sdsearch.unet import UNPRUNED
from sdsearch.weights import METADATA, origin_of, write_noted
from sdsearch_eval.data import load_dataset
from sdsearch_eval.devices import set_arithmetic
from sdsearch_eval.jobs.finetune import PICTURED, Narrator, draw_painted, encode_photos
from sdsearch_eval.jobs.workspace import only_run, open_console
from sdsearch_eval.models import load_teacher, widen_teacher
from sdsearch_eval.planning import settle_tuning
from sdsearch_eval.recovery import (
    CHECKPOINT,
    Course,
    Watch,
    begin_recovery,
    finetune_student,
    open_source,
)
from sdsearch_eval.sampling import generate, prepare_inputs
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import UNet2DConditionModel
    from rich.console import Console

    from sdsearch.labels import Protocol
    from sdsearch.study import StudyFolder, TuneRequest
    from sdsearch_eval.data import Sample
    from sdsearch_eval.models import Teacher
    from sdsearch_eval.sampling import UNetInputs
    from sdsearch_eval.world import World

_SETTINGS = (
    *("dataset", "unreadable", "samples", "resolution"),
    *("crop", "crop_padding", "masks", "mask_convention", "mask_geometry", "threads", "tf32"),
)
"""Those of a protocol that decide what is learned; of files the content counts, not their place."""


def tune_teacher(request: TuneRequest) -> None:
    """Write the weights of a study's teacher of 9 channels, with its log and pictures.

    They are in the study's `tuning` folder; a killed run continues from its last checkpoint, which
    is removed once the weights are written.
    """
    from safetensors.torch import save

    study, world = read_study(request.study), open_world(request.processes)
    study = settle_tuning(study, world.device)
    torch.set_num_threads(study.config.protocol.threads)
    set_arithmetic(tf32=study.config.protocol.tf32)
    console, weights = open_console(world), study.tuning_dir / "weights.safetensors"
    with only_run(study, world):
        study.make(study.tuning_dir)
        course = open_course(study, world)
        if origin_of(weights) != course.of:
            unet = learn_to_inpaint(course, study, world, console)
            if world.is_first:
                state = {name: x.contiguous() for name, x in unet.state_dict().items()}
                write_noted(weights, save(state, metadata=METADATA), course.of)
        if world.is_first:
            (study.tuning_dir / CHECKPOINT).unlink(missing_ok=True)
        world.agree()
    console.print(f"tuned weights: {weights}", soft_wrap=True)


def open_course(study: StudyFolder, world: World) -> Course:
    """What is learned from what: the noise of photos, by a net that is the teacher at first.

    Raises:
        InputError: the pipeline cannot be read, or no photo is left beyond the evaluated ones.
    """
    config, recipe = study.config, study.config.teacher.tuning
    pipeline = open_pipeline(config.teacher.pipeline)
    teacher = widen_teacher(load_teacher(pipeline, world.device))
    return Course(
        of=content_key([*_name_pictures(study, teacher), recipe.identity]),
        arch=UNPRUNED,
        teacher=teacher,
        source=open_source(config.protocol, recipe, recipe.seed),
        recipe=recipe,
        seed=recipe.seed,
        resolution=config.protocol.resolution,
        machine=config.machine,
    )


def learn_to_inpaint(
    course: Course, study: StudyFolder, world: World, console: Console
) -> UNet2DConditionModel:
    """Train for the steps that are left; the UNet has its averaged weights."""
    folder, teacher, recipe = study.tuning_dir, course.teacher, course.recipe
    easel = Easel.of(study.config.protocol, teacher, course.seed)
    with progress_bar(console, window=600.0) as bar:
        made_of = [*_name_pictures(study, teacher), course.seed]
        course = encode_photos(course, made_of, study.features_dir, world, bar)
        progress = begin_recovery(teacher.student(UNPRUNED), recipe, folder / CHECKPOINT, course.of)
        watch = Watch(
            Narrator(bar, console, recipe).tell,
            lambda step, unet: write_atomic(folder / f"step-{step:06d}.png", easel.paint(unet)),
        )
        return finetune_student(progress, course, folder, world, watch)


@dataclass(frozen=True, slots=True)
class Easel:
    """The first few samples of a protocol, as any UNet of a teacher's geometry is to paint them."""

    protocol: Protocol
    teacher: Teacher
    samples: Sequence[Sample]
    inputs: UNetInputs

    @classmethod
    def of(cls, protocol: Protocol, teacher: Teacher, seed: int) -> Easel:
        """Those of a protocol, with noise of a seed."""
        few = protocol.model_copy(update={"samples": min(PICTURED, protocol.samples)})
        samples = load_dataset(few, 0).samples
        return cls(protocol, teacher, samples, prepare_inputs(teacher, samples, seed))

    def paint(self, unet: UNet2DConditionModel) -> bytes:
        """A PNG of them as a UNet paints them now."""
        made = generate(unet, self.teacher, self.inputs, self.samples, self.protocol)
        return draw_painted(self.samples, "teacher", made)


def _name_pictures(study: StudyFolder, teacher: Teacher) -> list[object]:
    """What decides what is seen by whom; evaluated photos stand for all, as some may be added."""
    said, content = study.resolved.settings, study.resolved.content
    settings = [said.get(name) for name in _SETTINGS]
    return [teacher.sha256, *settings, content.photos, content.captions]
