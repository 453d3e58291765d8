"""What is measured before any label: how long members take, and what a teacher can lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sdsearch.console import progress_bar
from sdsearch.design import Probe
from sdsearch.files import write_atomic
from sdsearch.pipelines import open_pipeline
from sdsearch.study import find_teacher, load_space, read_study
from sdsearch.unet import UNPRUNED
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.data import load_recovery_samples
from sdsearch_eval.devices import name_device, quick_dtype, set_arithmetic
from sdsearch_eval.jobs.workspace import only_run, open_console
from sdsearch_eval.models import load_teacher
from sdsearch_eval.sampling import (
    cast_unet,
    fill_survey,
    pose_question,
    probe_removals,
    spread_timesteps,
    time_slots,
    weigh_timesteps,
)
from sdsearch_eval.world import World, open_world

if TYPE_CHECKING:
    from sdsearch.study import LatencyRequest, ProbeRequest


def time_members(request: LatencyRequest) -> None:
    """Fill in a latency survey with a progress bar; what is measured already stays."""
    with progress_bar(open_console(World())) as progress:
        task = progress.add_task(f"latency ({request.survey.name})", total=None)
        fill_survey(
            request.survey,
            lambda done, total: progress.update(task, completed=done, total=total),
        )


def probe_teacher(request: ProbeRequest) -> None:
    """Measure all removals of a study's space on its teacher, with a progress bar: probe.json.

    Removals that were measured before a kill are read from the cache.
    """
    study, world = read_study(request.study), open_world(1)
    protocol, seed, console = study.config.protocol, study.config.seed, open_console(world)
    with only_run(study, world):
        torch.set_num_threads(protocol.threads)
        set_arithmetic(tf32=protocol.tf32)
        teacher = load_teacher(open_pipeline(find_teacher(study)), world.device)
        space = load_space(study)
        timesteps = spread_timesteps(teacher, request.timesteps)
        weights = weigh_timesteps(teacher, timesteps)
        samples = load_recovery_samples(protocol, request.samples)
        question = pose_question(teacher, samples, timesteps, seed)
        dtype = quick_dtype(world.device, protocol.dtype)
        made_from = {
            "dtype": dtype,
            "teacher_sha256": teacher.sha256,
            "protocol": study.protocol_key,
            "seed": seed,
            "timesteps": timesteps,
            "samples": request.samples,
        }
        cache = TensorCache(study.features_dir, made_from)
        # Nothing is encoded or decoded from here on: a full-size net needs the memory.
        with teacher.wait_on_host(), progress_bar(console) as progress:
            unet = cast_unet(teacher.student(UNPRUNED), dtype)
            milliseconds = time_slots(unet, question)
            del unet
            task = progress.add_task("removals", total=None)
            removals = probe_removals(
                teacher,
                space,
                question,
                weights,
                dtype,
                cache,
                request.at_once(protocol),
                lambda done, total: progress.update(task, completed=done, total=total),
            )
    probe = Probe(
        space=space.name,
        asked=request.samples,
        samples=len(samples),
        timesteps=timesteps,
        weights=weights,
        removals=tuple(removals),
        milliseconds=milliseconds,
        device=name_device(world.device),
    )
    write_atomic(study.probe_file, probe.to_json(indent=1) + "\n")
