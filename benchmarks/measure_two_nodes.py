"""Measure what the cluster model needs and what it must reproduce: a run on two nodes, one lost.

    python -m benchmarks.measure_two_nodes [--labels 12]     # about 6 minutes on 2 quiet cores

On the tiny model under a short protocol with one thread a label, so that two nodes fit on two
cores. First the same labels one after another in one process, then in two at once (what the model
is told: seconds a label, seconds a start, how much two slow one another down); then on a Ray
cluster of two nodes on this machine, one of which is lost half-way (what it must reproduce).
Writes benchmarks/two_nodes.json, which sim_cluster.py reads.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.files import write_atomic
from sdsearch.space import search_space
from sdsearch.stages import label_study
from sdsearch.study import Listing, Origin, read_study, write_sample
from sdsearch.workers import HarnessProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.study import StudyFolder

OUT = Path(__file__).with_name("two_nodes.json")
TOML = """\
[protocol]
samples = 96
recovery = { steps = 12 }
threads = 1
"""


def main() -> None:
    """Measure alone, side by side, and on two nodes; write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=12)
    count = parser.parse_args().labels
    archs = search_space("tiny").sample(count, np.random.default_rng(5))
    keys = [arch.key for arch in archs]
    with TemporaryDirectory() as place:
        study = make_study(Path(place) / "alone", archs)
        with HarnessProcess(study) as first:
            first.prepare()  # fills the cache, which is not what a start costs
        start, alone = time_labels(study, keys)
        halves = [keys[::2], keys[1::2]]
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda half: time_labels(study, half), halves))
        slowdown = sum(sum(seconds.values()) for _, seconds in both) / sum(alone.values())
        run = run_on_two_nodes(make_study(Path(place) / "ray", archs), keys)
    write_atomic(
        OUT,
        json.dumps(
            {
                "machine": f"{platform.machine()}, 2 cores, Python {platform.python_version()}",
                "protocol": study.protocol_key,
                "label_seconds": [round(alone[key], 3) for key in keys],
                "start_seconds": round(start, 3),
                "start_seconds_of_two": round(mean(start for start, _ in both), 3),
                "slowdown_of_two": round(slowdown, 4),
                **run,
            },
            indent=1,
        )
        + "\n",
    )
    sys.stdout.write(OUT.read_text())


def make_study(folder: Path, archs: Sequence[Any]) -> StudyFolder:
    """A study that lists `archs`."""
    folder.mkdir()
    (folder / "study.toml").write_text(TOML)
    drawn = Origin(kind="sample", name="uniform")
    listing = Listing.of((arch, drawn) for arch in archs)
    study = read_study(folder)
    write_sample(study, listing)
    return study


def time_labels(study: StudyFolder, keys: Sequence[str]) -> tuple[float, dict[str, float]]:
    """Seconds of a start with a warm cache, and of every label after it."""
    with HarnessProcess(study) as labeller:
        begin = time.perf_counter()
        labeller.prepare()
        start, seconds = time.perf_counter() - begin, {}
        for key in keys:
            begin = time.perf_counter()
            labeller.label(key)
            seconds[key] = time.perf_counter() - begin
            for block in study.rows_dir(key).rglob("*.safetensors"):
                block.unlink()  # or the second time would find them
    return start, seconds


def run_on_two_nodes(study: StudyFolder, keys: Sequence[str]) -> dict[str, float]:
    """Seconds from the first claim to the last label, and when the second node was lost."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    times: dict[str, float] = {}

    def watch() -> None:
        claims = study.claims_dir
        while not list(claims.glob("*/attempt-*.json")):
            time.sleep(0.02)
        times["first claim"] = time.perf_counter()
        while len(study.labels.read_all()) < len(keys) // 2:
            time.sleep(0.05)
        time.sleep(2)  # into the next label
        times["lost"] = time.perf_counter()
        cluster.remove_node(nodes[1], allow_graceful=False)
        while len(study.labels.read_all()) < len(keys):
            time.sleep(0.05)
        times["last label"] = time.perf_counter()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        label_study(study, executor="ray")
        watcher.join()
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]
    return {
        "lost_at": round(times["lost"] - times["first claim"], 2),
        "makespan": round(times["last label"] - times["first claim"], 2),
    }


if __name__ == "__main__":
    main()
