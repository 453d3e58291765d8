"""What a label of Stable Diffusion v1.5 takes on this GPU, beside what the GPU gives at best.

    python -m benchmarks.full_size_gpu [--quick | --smoke] [--out FILE]

Pipeline and photos are made on the spot, of random weights and colours, in a temporary folder of
12 GB. A GPU of 80 GB needs less than 8 minutes; a row that a smaller one has no memory for says so.
`--quick` measures a label of fewer samples and steps, `--smoke` does everything at the size of the
embedded model, on any machine. FILE gets the results as JSON after every part, so that a run that
is ended early leaves what it has. A checkout that is not installed needs PYTHONPATH=.:eval.
Exit code 1: a part failed, or the whole label takes more than 1.3 times its limit.
"""

from __future__ import annotations

import argparse
import faulthandler
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.ceilings import Halves, Measuring, measure_ceilings
from benchmarks.device_watch import watch_label
from benchmarks.full_size import choose_design
from benchmarks.gpu_report import (
    Report,
    describe_design,
    describe_machine,
    show_ceilings,
    show_costs,
    show_devices,
    show_facts,
    show_limit,
)
from benchmarks.label_limit import find_limit, measure_label
from benchmarks.random_study import find_geometry, make_study
from sdsearch_eval.devices import release_memory

if TYPE_CHECKING:
    from benchmarks.random_study import Size

MOST_OF_LIMIT = 1.3


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: the geometry, the label, and how long every rate."""

    size: Size
    samples: int
    steps: int
    lessons: int
    batch: int
    rates: dict[str, Any]

    def protocol(self, halves: Halves) -> dict[str, Any]:
        """That of the label: sampling and teacher in half precision, recovery by autocast."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "guidance": 7.5,
            "block_size": self.batch,
            "dtype": halves.sampling,
            "tf32": True,
            "feature_size": 64 if self.size == "tiny" else 224,
            "threads": 1 if self.size == "tiny" else 8,
            "recovery": {
                "steps": self.lessons,
                "batch_size": self.batch,
                "learning_rate": 1e-5,
                "precision": halves.recovery,
                "teacher_dtype": halves.sampling,
            },
        }


WHOLE = Scale("full", samples=256, steps=20, lessons=300, batch=8, rates={"seconds": 1.0})
QUICK = Scale("full", samples=32, steps=20, lessons=40, batch=8, rates={"seconds": 0.5})
SMOKE = Scale(
    "tiny",
    samples=4,
    steps=2,
    lessons=2,
    batch=2,
    rates={"seconds": 0.0, "batches": 0.15, "fewest": 1, "warm_up": 1},
)


def main() -> int:
    """Measure part by part, print each as Markdown; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    scales = parser.add_mutually_exclusive_group()
    scales.add_argument("--quick", dest="scale", action="store_const", const=QUICK, default=WHOLE)
    scales.add_argument("--smoke", dest="scale", action="store_const", const=SMOKE, default=WHOLE)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    faulthandler.register(signal.SIGTERM, chain=True)  # whoever ends it early learns where it was
    device = find_device()
    if device.type == "cpu" and options.scale.size == "full":
        parser.error("a label at full size needs a GPU, but there is none; --smoke needs none")
    report = Report(options.out)
    with TemporaryDirectory(prefix="sdsearch-gpu-") as folder:
        ratio = measure(options.scale, device, Path(folder), report)
    if report.failed:
        print(f"\nfailed: {', '.join(report.failed)}")
    missed = options.scale is WHOLE and (ratio is None or ratio > MOST_OF_LIMIT)
    return 1 if report.failed or missed else 0


def find_device() -> torch.device:
    """The device at hand, with its number; the processor where there is no other."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if found is None:
        return torch.device("cpu")
    return torch.device(found.type, torch.accelerator.current_device_index())


def measure(scale: Scale, device: torch.device, folder: Path, report: Report) -> float | None:
    """Add all parts to a report; the label's seconds over its limit, where both are known."""
    geometry, halves, ratio = find_geometry(scale.size), Halves.of(device), None
    report.add("machine", lambda: describe_machine(device), show_facts)
    study = make_study(folder, geometry, scale.protocol(halves), device)
    design = choose_design(study)
    report.add("design", lambda: describe_design(design, geometry), show_facts)
    measuring = Measuring(device, **scale.rates)
    ceilings = report.add(
        "ceilings",
        lambda: list(measure_ceilings(geometry, design, halves, measuring)),
        show_ceilings,
    )
    release_memory(device)  # the label is measured by another process
    costs = report.add("label", lambda: measure_label(study, design), show_costs)
    if ceilings and costs:
        protocol, calls = study.config.protocol, costs.evaluations
        limit = report.add("limit", lambda: find_limit(protocol, calls, ceilings), show_limit)
        if limit:
            ratio = report.add("label / limit", lambda: costs.seconds / limit.seconds, show_ratio)
    report.add("where it ran", lambda: watch_label(device), show_devices)
    return ratio


def show_ratio(ratio: float) -> str:
    """The ratio, and what it may be."""
    return f"{ratio:.2f} (of the whole label at full size: at most {MOST_OF_LIMIT})"


if __name__ == "__main__":
    sys.exit(main())
