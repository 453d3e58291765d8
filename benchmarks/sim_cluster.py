"""Many GPUs on paper: what 68 and 500 labels of SD v1.4 take on 8, 64 and 1,000 of them.

    python -m benchmarks.sim_cluster

First the model against the run on two nodes that was measured (measure_two_nodes.py): it must give
that run's length within 15 %. Then SD v1.4 from counted MACs and the assumptions below, which are
no measurements: change them to what your cluster gives.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cluster_model import Cluster, Run, simulate_run
from sdsearch.space import search_space
from sdsearch.unet import UNPRUNED, count_macs, count_params

MEASURED = Path(__file__).with_name("two_nodes.json")
WITHIN = 0.15
SEEDS = 5

CALLS = 256 * 20 * 2
"""UNet calls of a label's sampling: 256 samples, 20 steps, with guidance."""
TAUGHT = 300 * 8
"""Images of its recovery: 300 steps of 8; forwards and backwards cost three forwards."""
HALF_MACS, FLOAT_MACS = 50e12, 10e12
"""Assumed multiply-accumulates a second: sampling in half precision (100 T operations a second) and
recovery in float32 (20 T)."""
FIXED = 25.0
"""Assumed seconds of a label beside the UNet: autoencoder, features, building the student."""
START = 20.0
"""Assumed seconds of a start beside reading: imports, moving the teacher to the GPU."""
TEACHER_BYTES = 4.3e9
"""UNet, autoencoder and text encoder in float32; their hash reads them once more from memory."""
SHARED_BYTES = 256 * (2 * 65_536 + 16_384 + 2 * 236_544 + 230_000)
"""Of 256 samples: noise, masked latents, masks, text embeddings with and without prompt, features
(0.23 MB a sample, as measured in the tiny study: their size does not depend on the resolution)."""
LESSON_BYTES = TAUGHT * (147_456 + 2 * 65_536 + 236_544)
"""UNet input, text, teacher's answer and target of every image of the recovery, in float32."""
WEIGHTS_MOVED = 3
"""A label's recovered weights (float32) are written, read to sample, and read to be timed."""
CLIENT_RATE, TOTAL_RATE = 1e9, 10e9
"""Assumed bytes a second from the shared file system: to one reader, and to all together."""


def main() -> int:
    """Print both parts; exit code 1 where the measured run is missed."""
    if not reproduces_measured_run():
        return 1
    print()
    for count in (68, 500):
        print_scaling(count)
    print_bottlenecks()
    return 0


def reproduces_measured_run() -> bool:
    """Whether the model gives the measured run's length."""
    told, share = predict_measured_run()
    found = told["makespan"]
    print(
        f"measured: {len(told['label_seconds'])} labels on two Ray nodes, one lost after "
        f"{told['lost_at']:.1f} s: {found:.1f} s\n"
        f"model:    {share * found:.1f} s, {share - 1:+.1%} (it must be within {WITHIN:.0%})"
    )
    return abs(share - 1) <= WITHIN


def predict_measured_run() -> tuple[dict[str, Any], float]:
    """What was measured, and the model's length of that run as a share of the true one."""
    if not MEASURED.is_file():
        raise SystemExit(f"{MEASURED} is missing; make it: python -m benchmarks.measure_two_nodes")
    told = json.loads(MEASURED.read_text(encoding="utf-8"))
    cluster = Cluster(
        workers=2,
        start=told["start_seconds_of_two"],
        start_per_label=True,  # a Ray task is a process of its own
        lease=0.0,  # the lost worker's process is known to be dead
        beside=told["slowdown_of_two"],
        kills=((told["lost_at"], 1),),
    )
    run = simulate_run(cluster, told["label_seconds"])
    return told, run.makespan / told["makespan"]


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a member: seconds of sampling, which GPUs share, of all else; bytes moved."""

    sampling: float
    rest: float
    moved: float

    def seconds(self, gpus: int = 1) -> float:
        """How long it takes; the first GPU recovers alone."""
        return self.sampling / gpus + self.rest


def sd14_labels(count: int, seed: int = 0) -> list[Label]:
    """Labels of uniformly drawn members of `sd14`, by their MACs and parameters."""
    space, found = search_space("sd14"), []
    for arch in space.sample(count, np.random.default_rng(seed)):
        macs = count_macs(arch, space.backbone).total
        moved = LESSON_BYTES + WEIGHTS_MOVED * 4 * count_params(arch, space.backbone)
        recovery = 3 * TAUGHT * macs / FLOAT_MACS
        found.append(Label(CALLS * macs / HALF_MACS, FIXED + recovery, moved))
    return found


def print_scaling(count: int) -> None:
    """A table of one number of labels: GPUs, executors, preemption."""
    labels = sd14_labels(count)
    space = search_space("sd14")
    teacher = count_macs(UNPRUNED, space.backbone).total
    prepare = START + CALLS * teacher / HALF_MACS + TAUGHT * teacher / FLOAT_MACS
    times = [label.seconds() for label in labels]
    print(
        f"{count} labels of sd14, {np.median(times):.0f} s each (median; {min(times):.0f} to "
        f"{max(times):.0f}), {sum(times) / 3600:.1f} GPU hours; preparing what they share once: "
        f"{prepare:.0f} s"
    )
    print(f"  {'GPUs':>5}  {'workers':27}{'losses':20}{'minutes':>8}{'used':>7}{'in vain':>9}")
    for gpus in (8, 64, 1000):
        ways = ((1, True), (1, False), (8, True)) if gpus > count else ((1, True), (1, False))
        for per_label, warm in ways:
            for every in (None, 2 * 3600.0):
                cluster, times = sd14_cluster(gpus, labels, per_label, warm, every)
                runs = [simulate_run(cluster, times, seed) for seed in range(SEEDS if every else 1)]
                print(_row(gpus, per_label, warm, every, runs, prepare))
    print()


def sd14_cluster(
    gpus: int, labels: list[Label], per_label: int, warm: bool, every: float | None
) -> tuple[Cluster, list[float]]:
    """Workers of `per_label` GPUs, whose processes each read the teacher and the weights."""
    cluster = Cluster(
        workers=gpus // per_label,
        start=START,
        start_per_label=not warm,
        read=per_label * (TEACHER_BYTES + SHARED_BYTES),
        read_per_label=float(np.mean([label.moved for label in labels])),
        client_rate=CLIENT_RATE,
        total_rate=TOTAL_RATE,
        # Any of a worker's GPUs that is lost ends its label.
        preempted_every=None if every is None else every / per_label,
    )
    return cluster, [label.seconds(per_label) for label in labels]


def _row(
    gpus: int, per_label: int, warm: bool, every: float | None, runs: list[Run], prepare: float
) -> str:
    kind = f"{gpus // per_label} of {per_label}, " + ("kept" if warm else "a start a label")
    losses = "none" if every is None else f"each GPU in {every / 3600:.0f} h"
    minutes = np.mean([run.makespan + prepare for run in runs]) / 60
    used = np.mean([run.utilisation for run in runs])
    vain = np.mean([run.lost / (run.lost + run.useful) for run in runs])
    return f"  {gpus:>5}  {kind:27}{losses:20}{minutes:>8.1f}{used:>7.0%}{vain:>9.1%}"


def print_bottlenecks() -> None:
    """What limits 1,000 GPUs: the shared file system's rate, and lessons read by every label."""
    labels = sd14_labels(4000)
    print("4,000 labels on 1,000 GPUs, kept workers, no losses: what the file system does")
    for total in (1e9, 3e9, 10e9, 30e9, 100e9):
        cluster, times = sd14_cluster(1000, labels, 1, True, None)
        run = simulate_run(replace(cluster, total_rate=total), times)
        local = simulate_run(replace(cluster, total_rate=total, read_per_label=0), times)
        print(
            f"  {total / 1e9:>5.0f} GB/s: {run.makespan / 60:6.1f} min, used "
            f"{run.utilisation:.0%}; lessons and weights on local disks: "
            f"{local.makespan / 60:6.1f} min, used {local.utilisation:.0%}; last worker ready "
            f"after {run.longest_start:.0f} s"
        )
    print(
        f"  a start reads {(TEACHER_BYTES + SHARED_BYTES) / 1e9:.1f} GB, a label moves "
        f"{cluster.read_per_label / 1e9:.1f} GB, {LESSON_BYTES / 1e9:.1f} GB of it lessons"
    )


if __name__ == "__main__":
    sys.exit(main())
