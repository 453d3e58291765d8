"""What a label took, and what it could take at least by the rates of its device."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import WorkError
from sdsearch.study import open_study
from sdsearch.workers import HarnessProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ceilings import Ceiling
    from sdsearch.labels import Protocol
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture


@dataclass(frozen=True, slots=True)
class LabelCosts:
    """What a label took.

    Attributes:
        device: what computed, as the label says.
        preparation: seconds until all that labels share was there: the start of the harness,
            teacher, samples, references and lessons.
        lessons: those of them that went into the lessons of the recovery, by the times of their
            files; None where there are no such files.
        seconds: from the order to the label, by the clock of the worker that gave it.
        phases: seconds of each phase, as the harness counted them.
        evaluations: of the UNet for each sample, as the label counted them.
        repeated: share of the samples that overflowed in half precision, and were sampled twice.
        peak: most bytes of the device that tensors took; None where nobody counts.
    """

    device: str
    preparation: float
    lessons: float | None
    seconds: float
    phases: dict[str, float]
    evaluations: float
    repeated: float
    peak: int | None


def measure_label(study: StudyFolder, arch: Architecture) -> LabelCosts:
    """Order one label from the harness, as the worker of `sdsearch label` does.

    Raises:
        WorkError: there is none.
    """
    opened = open_study(study)
    start = time.perf_counter()
    with HarnessProcess(opened) as labeller:
        labeller.prepare()
        prepared = time.perf_counter()
        label = labeller.label(arch.key)
        ended = time.perf_counter()
    if label.failure:
        raise WorkError(f"the label failed: {label.failure}")
    return LabelCosts(
        device=label.provenance["environment"]["device"],
        preparation=prepared - start,
        lessons=_seconds_of_lessons(opened),
        seconds=ended - prepared,
        phases=label.provenance["seconds"],
        evaluations=label.scalar("nfe"),
        repeated=label.scalar("fp32_retry") if "fp32_retry" in label.values else 0.0,
        peak=label.provenance.get("peak_device_bytes"),
    )


def _seconds_of_lessons(study: StudyFolder) -> float | None:
    """From the last of the files that were prepared before the lessons to the last lesson."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for file in study.features_dir.rglob("*"):
        if file.is_file():
            times[file.name.startswith("lesson")].append(file.stat().st_mtime)
    return max(times[True]) - max(times[False]) if all(times.values()) else None


@dataclass(frozen=True, slots=True)
class Limit:
    """The seconds of what a label cannot do without, at the rates that its device gives.

    Attributes:
        sampling: the UNet's evaluations, as the label counted them.
        recovery: the recovery's images forwards and backwards, with the optimizer's steps.
        decoding: an image of each sample, in whichever precision decodes fastest.
    """

    sampling: float
    recovery: float
    decoding: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.sampling + self.recovery + self.decoding


def find_limit(protocol: Protocol, evaluations: float, ceilings: Sequence[Ceiling]) -> Limit:
    """The limit of a label whose UNet was evaluated so often for each sample.

    Features, metrics, reading and writing are not in it, nor is what all labels share.

    Raises:
        ValueError: a rate that is needed was not measured.
    """

    def rate(what: str, *precisions: str) -> float:
        known = [one for one in ceilings if one.what == what and one.per_second]
        rates = [
            one.per_second for one in known if one.per_second and one.precision in precisions
        ] or [one.per_second for one in known if one.per_second and not precisions]
        if not rates:
            raise ValueError(f"{what} was not measured in {precisions or 'any precision'}")
        return max(rates)

    recipe, single = protocol.recovery, "tf32" if protocol.tf32 else "float32"
    sampled = single if protocol.dtype == "float32" else protocol.dtype
    learned = single if recipe.precision == "float32" else recipe.precision
    return Limit(
        sampling=protocol.samples * evaluations / rate("design forward", sampled),
        recovery=recipe.steps * recipe.batch_size / rate("training", learned),
        decoding=protocol.samples / rate("decode"),
    )
