"""A long recovery on as many photos as BK-SDM learned from: does it start, fit and go on?

    python benchmarks/long_recovery.py [--photos 212000] [--out benchmarks/long_recovery.json]

Makes a folder of small photos, all different, with captions, and recovers a member of the tiny
space on it by the command's own way: what the files hold is read, then the harness works. It is
killed with all that it started and begun again; another run is not disturbed. Then one step of a
recovery over 4,096 of the photos is timed beside one over 64. Exit 1 where a limit is passed.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from sdsearch import create_study
from sdsearch.files import write_atomic
from sdsearch.harness import harness_environment, kill_family
from sdsearch.labels import LongRecovery, Protocol
from sdsearch.pipelines import open_pipeline
from sdsearch.space import search_space
from sdsearch.study import MachineConfig, StudyFolder, read_study, write_sample
from sdsearch.study.listing import Listing, Origin
from sdsearch_eval.models import load_teacher
from sdsearch_eval.recovery import (
    CHECKPOINT,
    Course,
    Watch,
    begin_recovery,
    finetune_student,
    open_source,
)
from sdsearch_eval.world import World

MOST_SECONDS, MOST_BYTES, MOST_RATIO = 120.0, 3_000_000_000, 1.2
STEPS, KILLED_AFTER = 6, 3
RECIPE = LongRecovery(steps=STEPS, batch_size=16, checkpoint_every=2)
ARCH = search_space("tiny").members["bk-tiny"]
COMMAND = """
import sys
from sdsearch.harness import run_harness
from sdsearch.study import FinetuneRequest, open_study, read_study
study = open_study(read_study(sys.argv[1]))
run_harness(FinetuneRequest(study=study.root, arch_key=sys.argv[2]))
"""


def write_photos(folder: Path, count: int) -> None:
    """`count` JPEG files of about 1 kB, and a caption for each in `metadata.jsonl`.

    All show one of a few pictures, and no two have the same bytes: a comment tells the number.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(16):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((96, 72), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=40)
        pictures.append(stream.getvalue())
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as captions:
        for number in range(count):
            name, picture = f"{number:012d}.jpg", pictures[number % len(pictures)]
            comment = b"\xff\xfe\x00\x0a" + f"{number:08d}".encode()
            (folder / name).write_bytes(picture[:2] + comment + picture[2:])
            text = f"soft colours, the picture with number {number}"
            captions.write(json.dumps({"file_name": name, "text": text}) + "\n")


def make_study(root: Path, photos: Path) -> StudyFolder:
    """A study of the tiny model on the photos, with the member that is recovered."""
    made = create_study(
        root,
        protocol={
            "dataset": str(photos),
            "masks": "thick",
            "samples": 16,
            "steps": 2,
            "feature_size": 32,
            "recovery": {"steps": 1, "batch_size": 2},
        },
        export={"recovery": RECIPE.identity | {"checkpoint_every": RECIPE.checkpoint_every}},
    )
    study = read_study(made.folder.root)
    write_sample(study, Listing.of([(ARCH, Origin(kind="member", name="bk-tiny"))]))
    return study


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command.

    Attributes:
        seconds_to_first_step: from the start of the command to the first line of its log.
        most_bytes: resident memory of all its processes, pages that they share counted once.
    """

    seconds_to_first_step: float
    most_bytes: int


def run_command(study: StudyFolder, kill_after: int | None = None) -> Run:
    """Recover, to the end or until some steps are logged; the log is that of the study."""
    start, first, most = time.perf_counter(), 0.0, 0
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(study.root), ARCH.key], env=harness_environment()
    )
    while process.poll() is None:
        done = len(read_losses(study))
        if done and not first:
            first = time.perf_counter() - start
        if kill_after is not None and done >= kill_after:
            kill_family(process)
            break
        most = max(most, resident_bytes(process.pid))
        time.sleep(0.2)
    if process.wait() and kill_after is None:
        sys.exit("the recovery failed")
    return Run(round(first, 1), most)


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and all that it started."""
    total = 0
    try:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.NoSuchProcess:
        pass
    return total


def read_losses(study: StudyFolder) -> list[dict[str, float]]:
    """The rows of the log, whole ones only."""
    found = list(study.root.glob("recovered/*/*/log.jsonl"))
    lines = found[0].read_text(encoding="utf-8").splitlines(keepends=True) if found else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def time_steps(photos: Path, counts: tuple[int, int], steps: int = 8) -> dict[int, float]:
    """CPU seconds of a step over the first so many photos each, taken in turns; the median.

    The first step of each, which makes the order and the optimizer's state, is not counted.
    """
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    protocol = Protocol(dataset=str(photos), masks="thick", samples=16)
    source = open_source(protocol, RECIPE, 0)
    recipe = RECIPE.model_copy(update={"steps": steps, "checkpoint_every": 10**6})
    found: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(3):
        for count in counts:
            course = Course(
                of="",
                arch=ARCH,
                teacher=teacher,
                source=First(source, count),
                recipe=recipe,
                seed=0,
                resolution=protocol.resolution,
                machine=MachineConfig(workers=0),
            )
            found[count] += _step_seconds(course)
    return {count: median(seconds) for count, seconds in found.items()}


def _step_seconds(course: Course) -> list[float]:
    clock: list[float] = []
    watch = Watch(lambda step, row: clock.append(time.process_time()), lambda step, unet: None)
    with TemporaryDirectory() as folder:
        unet = course.teacher.student(ARCH)
        progress = begin_recovery(unet, course.recipe, Path(folder) / CHECKPOINT, "")
        finetune_student(progress, course, Path(folder), World(), watch)
    return np.diff(clock)[1:-1].tolist()


class First:
    """The first photos of a source, as if there were no more."""

    skips = False

    def __init__(self, source: Any, count: int) -> None:
        self.count, self.captions, self._source = count, source.captions, source

    def __getitem__(self, place: tuple[int, int]) -> Any:
        return self._source[place]


def measure(work: Path, photos: int, counts: tuple[int, int]) -> dict[str, Any]:
    """All that this page is about, with what is wrong by its limits."""
    folder = work / "photos"
    if not folder.exists():
        write_photos(folder, photos)
    torch.set_num_threads(2)
    whole, killed = (make_study(work / name, folder) for name in ("whole", "killed"))
    run = run_command(whole)
    first = run_command(killed, KILLED_AFTER)
    logged = len(read_losses(killed))
    again = run_command(killed)
    steps = time_steps(folder, counts)
    few, many = sorted(steps)
    found = {
        "photos": photos,
        "batch_size": RECIPE.batch_size,
        "seconds_to_first_step": [run.seconds_to_first_step, first.seconds_to_first_step],
        "resident_bytes": max(run.most_bytes, first.most_bytes, again.most_bytes),
        "steps_logged_when_killed": logged,
        "losses_equal_after_resuming": read_losses(whole) == read_losses(killed),
        "losses": [row["loss"] for row in read_losses(killed)],
        "cpu_seconds_of_a_step": {str(count): round(value, 4) for count, value in steps.items()},
        "ratio_of_steps": round(steps[many] / steps[few], 3),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return found | {"passed": not passed_limits(found)}


def passed_limits(found: dict[str, Any]) -> list[str]:
    """The limits that were passed, in words."""
    limits = {
        f"first step within {MOST_SECONDS:.0f} s": max(found["seconds_to_first_step"])
        <= MOST_SECONDS,
        f"resident memory below {MOST_BYTES:,} bytes": found["resident_bytes"] < MOST_BYTES,
        "equal losses after resuming": found["losses_equal_after_resuming"]
        and len(found["losses"]) == STEPS,
        f"steps cost at most {MOST_RATIO} times as much": found["ratio_of_steps"] <= MOST_RATIO,
    }
    return [limit for limit, is_kept in limits.items() if not is_kept]


def main() -> None:
    """Measure, write the numbers, and exit 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=212_000)
    parser.add_argument("--work", type=Path, help="keeps photos and studies; else they go")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/long_recovery.json"))
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = measure(options.work or Path(folder), options.photos, (64, 4096))
    write_atomic(options.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    if passed := passed_limits(found):
        sys.exit(f"not kept: {'; '.join(passed)}")


if __name__ == "__main__":
    main()
