"""The plan of a study: each of its tasks counted, and timed by what this machine does."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch

from sdsearch.planning import BESIDE, EACH, Machine, Need, Peak, StudyPlan, free_disk, host_memory
from sdsearch.study import ProbeRequest, load_space
from sdsearch.unet import UNPRUNED, count_macs, count_params
from sdsearch_eval.counting import bound_workspace, count_features
from sdsearch_eval.devices import device_memory, name_device
from sdsearch_eval.nets import extract_features, load_extractor
from sdsearch_eval.planning.fitting import (
    Fitted,
    fit_label,
    fit_prepare,
    fit_probe,
    fit_recover,
)
from sdsearch_eval.planning.proposals import propose_settings
from sdsearch_eval.planning.search import time_search
from sdsearch_eval.planning.settling import (
    describe_work,
    find_largest,
    find_room,
    long_recipe,
)
from sdsearch_eval.planning.speeds import Trial, measure_speeds
from sdsearch_eval.planning.storage import Storage, weigh_optional
from sdsearch_eval.planning.times import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.planning import Proposal
    from sdsearch.study import Stage, StudyFolder, Task
    from sdsearch.unet import Architecture
    from sdsearch_eval.nets import Extractor
    from sdsearch_eval.planning.phases import Work
    from sdsearch_eval.planning.proposals import Trained

CARDS = (8.0, 12.0, 16.0, 24.0)
"""Gigabytes of the cards for which settings are proposed."""


def plan_study(study: StudyFolder, tasks: Sequence[Task], device: torch.device) -> StudyPlan:
    """What the tasks of a study take on `device`; with settings for smaller and larger cards.

    Raises:
        InputError: the teacher's configs, or the extractor's weights, cannot be read.
    """
    start = time.time() - psutil.Process().create_time()
    protocol = study.config.protocol
    torch.set_num_threads(protocol.threads)
    extractor = load_extractor(protocol.extractor)
    features = count_features(
        load_extractor(protocol.extractor),
        min(32, protocol.samples),
        protocol.resolution,
        protocol.feature_size,
        device.type,
    )
    planner = _Planner(
        study, describe_work(study, device.type, features), extractor, tuple(tasks), device, start
    )
    needs = planner.needs()
    return StudyPlan(
        study=str(study.root),
        machine=_describe_machine(study, device),
        needs=needs,
        workspace=planner.workspace(),
        proposals=planner.proposals(),
        problems=tuple(planner.problems(needs)),
    )


def _describe_machine(study: StudyFolder, device: torch.device) -> Machine:
    return Machine(
        device=name_device(device),
        kind=device.type,
        device_bytes=device_memory(device),
        host_bytes=host_memory(),
        disk_bytes=free_disk(study.root),
        threads=torch.get_num_threads(),
    )


@dataclass(frozen=True)
class _Planner:
    study: StudyFolder
    work: Work
    extractor: Extractor
    tasks: tuple[Task, ...]
    device: torch.device
    start: float

    def needs(self) -> tuple[Need, ...]:
        """What every task needs, in order."""
        fitted = {task.stage: self._fit(task) for task in self.tasks if task.architectures}
        room = find_room(self.device)
        fits = {stage: found.peak.total <= room for stage, found in fitted.items()}
        seconds = self._times(fitted, fits)
        disk = self._disk()
        return tuple(
            Need(
                stage=task.stage,
                times=len(task.architectures) if task.stage in EACH else 1,
                fits=fits[task.stage],
                device=None if self.device.type == "cpu" else fitted[task.stage].peak,
                host=self._host(fitted[task.stage].peak),
                cut=_say_cut(fitted[task.stage], self._batch(task)),
                disk=disk[task.stage],
                seconds=seconds.get(task.stage),
            )
            for task in self.tasks
            if task.architectures
        )

    def workspace(self) -> int:
        """What float32 convolutions of a UNet call may take besides, on a GPU without TF32."""
        protocol = self.work.protocol
        if self.device.type != "cuda" or protocol.dtype != "float32" or protocol.tf32:
            return 0
        images = min(protocol.block_size, protocol.samples) * self.work.calls
        return bound_workspace(UNPRUNED, self.work.parts.backbone, images, self.work.latent)

    def proposals(self) -> tuple[Proposal, ...]:
        """Settings for cards of usual sizes."""
        found = {task.stage: task.architectures for task in self.tasks}
        labelled = (*found["label"], *found["measure"], *found["remake"])
        wanted: dict[Trained, tuple[Architecture, ...]] = {
            "tune": found.get("tune", ()),
            "label": labelled,
            "recover": found["recover"],
        }
        return tuple(
            propose_settings(self._work(stage), self._largest(archs), stage, gigabytes)
            for gigabytes in CARDS
            for stage, archs in wanted.items()
            if archs
        )

    def problems(self, needs: Sequence[Need]) -> list[str]:
        """What this machine lacks, in words."""
        found = []
        disk, free = sum(need.disk for need in needs), free_disk(self.study.root)
        if disk > free:
            found.append(
                f"the study needs {disk / 1e9:.1f} GB of disk, but {free / 1e9:.1f} are free where "
                f"{self.study.root} is; free some, or set fewer methods or a smaller top in [build]"
            )
        return found

    def _work(self, stage: Stage) -> Work:
        """The work with the long recipe of a stage."""
        return replace(self.work, long=long_recipe(self.study.config, stage))

    def _fit(self, task: Task) -> Fitted:
        room, work = find_room(self.device), self._work(task.stage)
        if task.stage in ("recover", "tune"):
            return fit_recover(self._largest(task.architectures), work, room)
        if task.stage in ("label", "measure", "remake"):
            found = [
                fit_label(arch, work, room)
                for arch in find_largest(task.architectures, work.parts.backbone)
            ]
            return max(found, key=lambda fitted: fitted.peak.total)
        if task.stage == "probe":
            asked = ProbeRequest(study=self.study.root).at_once(work.protocol)
            return fit_probe(work, asked, room)
        if task.stage == "prepare":
            return fit_prepare(work, room)
        if task.stage == "search":
            return Fitted(None, 1, Peak(phase="search", parts={}))
        painted = fit_prepare(work, room)
        return Fitted(None, painted.block, painted.peak)

    def _times(self, fitted: dict[Stage, Fitted], fits: dict[Stage, bool]) -> dict[Stage, float]:
        """Seconds of each stage; none where something of `sdsearch run` does not fit."""
        found = {task.stage: task.architectures for task in self.tasks if task.architectures}
        tuning = self.study.config.teacher.tuning
        if not all(is_fit for stage, is_fit in fits.items() if stage not in BESIDE):
            return {}
        label = fitted.get("label") or fitted.get("measure") or fitted.get("remake")
        # A probe's removals are nearly the whole net, which no training step has to hold.
        some = [archs for stage, archs in found.items() if stage != "probe"]
        archs = [arch for one in some for arch in one if arch != UNPRUNED]
        costs = {arch: count_macs(arch, self.work.parts.backbone).total for arch in archs}
        trial = Trial(
            small=min(costs, key=costs.__getitem__),
            large=max(costs, key=costs.__getitem__),
            block=fitted["prepare"].block if "prepare" in fitted else fitted["compare"].block,
            short=label.cut if label else None,
            long=fitted["recover"].cut if fits["recover"] else None,
            tuning=(tuning, cut) if "tune" in found and (cut := fitted["tune"].cut) else None,
        )
        try:
            speeds = measure_speeds(self.work, self.extractor, trial, self.device)
        except torch.OutOfMemoryError:  # other programs have it
            return {}
        clock = Clock(self.work, speeds, self.start)
        each = {
            "label": clock.label,
            "measure": clock.label,
            "remake": clock.remake,
            "recover": clock.recover,
        }
        seconds: dict[Stage, float] = {
            stage: sum(each[stage](arch) for arch in archs)
            for stage, archs in found.items()
            if stage in each and fits[stage]
        }
        if "tune" in found:
            seconds["tune"] = clock.tune(tuning)
        if "probe" in found and fits["probe"]:
            asked = ProbeRequest(study=self.study.root)
            seconds["probe"] = clock.probe(found["probe"], asked)
        if "prepare" in found:
            seconds["prepare"] = clock.prepare()
        if "compare" in found:
            seconds["compare"] = clock.compare(found["compare"])
        if "export" in found:
            seconds["export"] = clock.export(found["export"])
        if "search" in found:
            space = load_space(self.study)
            fitting = time_search(space, found["search"], self.study.config.ranker)
            seconds["search"] = self.start + fitting
        return seconds

    def _disk(self) -> dict[str, int]:
        protocol, images = self.work.protocol, np.zeros((1, 64, 64, 3), np.uint8)
        made = extract_features(
            self.extractor, torch.from_numpy(images).permute(0, 3, 1, 2), protocol.feature_size
        )
        storage = Storage(
            self.work,
            made.pooled.numel(),
            sum(level.numel() for level in made.maps),
            weigh_optional(self.study.config.teacher.pipeline),
        )
        found = {task.stage: task.architectures for task in self.tasks}
        # An export shares the weights of its design.
        kept = Counter(found["measure"]) - Counter(found["export"])
        weights = sum(count * storage.weights(arch) for arch, count in kept.items())
        return {
            "tune": storage.tune(self.study.config.teacher.tuning) if "tune" in found else 0,
            "probe": 0,
            "prepare": storage.shared(),
            "label": len(found["label"]) * storage.label(),
            "search": 0,
            "measure": len(found["measure"]) * storage.label() + weights,
            "remake": 0,
            "compare": 0,
            "export": sum(storage.export(arch) for arch in found["export"]),
            "recover": sum(
                storage.recovery(arch) + storage.checkpoint(arch) for arch in found["recover"]
            ),
        }

    def _host(self, peak: Peak) -> Peak:
        """Host memory: of a process with its libraries, and of what the device has not."""
        process = {"process": psutil.Process().memory_info().rss}
        if self.device.type == "cpu":
            return Peak(phase=peak.phase, parts={**peak.parts, **process})
        weights = 4 * count_params(UNPRUNED, self.work.parts.backbone)
        return Peak(phase="inheritance", parts={"a student's weights": weights, **process})

    def _largest(self, archs: Sequence[Architecture]) -> Architecture:
        return find_largest(archs, self.work.parts.backbone)[0]

    def _batch(self, task: Task) -> int:
        is_long = task.stage in ("recover", "tune")
        recipe = self._work(task.stage).long if is_long else self.work.protocol.recovery
        return recipe.batch_size


def _say_cut(fitted: Fitted, batch: int) -> str | None:
    """How a training step is cut, in words; None where it is whole, or there is none."""
    cut = fitted.cut
    if cut is None or (cut.micro_batch >= batch and not cut.checkpointing):
        return None
    parts = f"{cut.micro_batch} of {batch} images at once" if cut.micro_batch < batch else ""
    checkpointed = "activations computed twice" if cut.checkpointing else ""
    return ", ".join(part for part in (parts, checkpointed) if part)
