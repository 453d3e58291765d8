"""Host memory of the product at the full geometry of SD v1.5, on a processor, with random weights.

    python -m benchmarks.full_size FOLDER [--size tiny] [--channels 4] [--stage prepare]

Probing a study's teacher, preparing it, labelling its 60 % design and recovering it are processes
of their own, with the fewest samples and steps that show their peaks; the largest process of each
is what counts. A stage that is done is skipped, so that they may be run one at a time: FOLDER
(25 GB) keeps the study and memory.json. Without --stage all that are left run, for an hour or so on
two cores. Exit code 1: a stage failed, or took more than it may at full size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.harness import harness_environment, harness_line, written
from sdsearch.study import FinetuneRequest, read_listing, read_study
from sdsearch.unet import UNPRUNED, count_params, teacher_backbone

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

SHARE = 0.60
"""Of the teacher's parameters: the design that is measured has at most so many."""
MOST_GB = {"probe": 10.0, "prepare": 8.0, "label": 11.0, "recover": 15.0}
"""What a process of each stage may take at full size, in 10^9 bytes."""
STAGES = ("make", *MOST_GB)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a stage took: the peak of resident memory of its largest process, and its times."""

    peak_gb: float
    seconds: float
    cpu_seconds: float


def main() -> int:
    """Run what is asked for and not done yet, print all that is known; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--channels", type=int, choices=(4, 9), default=9)
    parser.add_argument("--stage", choices=STAGES, action="append")
    options = parser.parse_args()
    file = options.folder / "memory.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for stage in options.stage or STAGES:
        if stage not in known:
            geometry = options.size, str(options.channels)
            known[stage] = asdict(run_stage(stage, options.folder, geometry))
            file.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    spent = {stage: Spent(**row) for stage, row in known.items()}
    print(show_stages(spent, checked=options.size == "full"))
    missed = [s for s, most in MOST_GB.items() if s in spent and spent[s].peak_gb > most]
    return 1 if missed and options.size == "full" else 0


def choose_design(study: StudyFolder) -> Architecture:
    """The largest of a study's sample that has at most 60 % of the teacher's parameters."""
    backbone = teacher_backbone(study.config.teacher.pipeline)
    most = SHARE * count_params(UNPRUNED, backbone)
    listed = read_listing(study).architectures.values()
    sizes = {count_params(arch, backbone): arch for arch in listed}
    return sizes[max(size for size in sizes if size <= most)]


def run_stage(stage: str, folder: Path, geometry: tuple[str, str]) -> Spent:
    """Run the processes of a stage; size and channels of the UNet are those of the first.

    Raises:
        SystemExit: they failed.
    """
    say = [sys.executable, "-m", "sdsearch", "label", str(folder / "study")]
    if stage == "make":
        return _watch([sys.executable, "-m", "benchmarks.random_study", str(folder), *geometry])
    if stage == "probe":
        probe = [sys.executable, "-m", "sdsearch", "probe", str(folder / "study")]
        return _watch([*probe, "--samples", "1", "--timesteps", "1"])
    if stage == "prepare":
        return _watch([*say, "--prepare"])
    study = read_study(folder / "study")
    key = choose_design(study).key
    if stage == "label":
        return _watch([*say, "--arch", key])
    with written(FinetuneRequest(study=study.root, arch_key=key)) as request:
        return _watch(harness_line(request), harness_environment())


def _watch(command: list[str], environment: dict[str, str] | None = None) -> Spent:
    """Run a command; its largest process counts, of all that it has waited for.

    This process stays small, without torch: Linux counts for a new process what its parent had.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} ended with exit code {code}")
    return Spent(
        peak_gb=round(usage.ru_maxrss * 1024 / 1e9, 2),
        seconds=round(time.perf_counter() - start, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
    )


def show_stages(spent: dict[str, Spent], *, checked: bool) -> str:
    """A Markdown table of all stages that were run."""
    names = ("torch", "diffusers", "transformers")
    lines = [
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names),
        "",
        "| stage | peak host memory, GB | at most | seconds | CPU seconds |",
        "|---|---|---|---|---|",
    ]
    for stage, one in spent.items():
        most = MOST_GB.get(stage, "") if checked else ""
        lines.append(
            f"| {stage} | {one.peak_gb} | {most} | {one.seconds:.0f} | {one.cpu_seconds:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
