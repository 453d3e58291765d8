"""At which timesteps do a probe's errors order measured architectures best?

python -m benchmarks.probe_timesteps probes the tiny teachers of docs/worlds.md at seven timesteps,
and prints Spearman's correlation of minus the one-shot error with minus the labelled distance: for
each timestep alone and for rules that weigh them. All uniform members, and the best quarter.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.worlds.studies import TABLES, WORLDS, draw_members
from sdsearch.design import Probe
from sdsearch.labels import Protocol, ResolvedProtocol, read_label_table
from sdsearch.pipelines import open_pipeline
from sdsearch.ranker import errors_of
from sdsearch.space import search_space
from sdsearch.stats import spearman
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.data import load_recovery_samples
from sdsearch_eval.models import load_teacher
from sdsearch_eval.sampling import (
    pose_question,
    probe_removals,
    spread_timesteps,
    weigh_timesteps,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sdsearch_eval.models import Teacher

COUNT = 7


def weight_rules(teacher: Teacher, timesteps: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Each timestep alone, then rules over all of them; weights are made to sum to 1."""
    for number, timestep in enumerate(timesteps):
        yield f"t = {timestep}", np.eye(COUNT)[number]
    kept = teacher.scheduler().alphas_cumprod[list(timesteps)].double().numpy()
    yield "all alike", np.ones(COUNT)
    yield "noisy ones more, by t", np.array(timesteps, dtype=float)
    yield "by signal to noise", kept / (1 - kept)
    yield "by signal to noise, at most 5", np.array(weigh_timesteps(teacher, timesteps))


def probe_world(name: str, samples: int) -> tuple[int, list[tuple[str, float, float]]]:
    """How many members there are, and a row for each rule: its name and both correlations."""
    world = WORLDS[name]
    protocol = Protocol(**world.protocol)
    key, uniform = ResolvedProtocol(protocol=protocol).key, {arch.key for arch in draw_members()}
    table = read_label_table(TABLES / f"{name}.jsonl")
    chosen = [one for one in table if one.arch_key in uniform and one.status == "ok"]
    labels = [one for one in chosen if (one.seed, one.protocol_key) == (0, key)]
    teacher = load_teacher(open_pipeline(world.teacher), torch.device("cpu"))
    space = search_space("tiny", teacher.backbone)
    timesteps = spread_timesteps(teacher, COUNT)
    question = pose_question(teacher, load_recovery_samples(protocol, samples), timesteps, 0)
    with tempfile.TemporaryDirectory() as folder:
        cache = TensorCache(Path(folder), {})
        flat = (1 / COUNT,) * COUNT
        removals = probe_removals(teacher, space, question, flat, "float32", cache, 32)
    quality = -np.array([one.scalar(world.endpoint) for one in labels])
    best = quality >= np.quantile(quality, 0.75)
    rows = []
    for name, weights in weight_rules(teacher, timesteps):
        probe = Probe(
            space=space.name,
            asked=samples,
            samples=samples,
            timesteps=timesteps,
            weights=tuple(weights / weights.sum()),
            removals=tuple(removals),
            milliseconds={},
            device="",
        )
        order = -errors_of([one.architecture for one in labels], space, probe.option_errors(space))
        rows.append((name, spearman(order, quality), spearman(order[best], quality[best])))
    return len(labels), rows


def main() -> None:
    """Print a Markdown table for each world."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=12)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, world in WORLDS.items():
        count, rows = probe_world(name, given.samples)
        said = f"{count} members, {given.samples} samples a timestep"
        print(f"**{name}**, in {world.endpoint}: {said}\n")
        print("| weights | SRCC, all | SRCC, best quarter |\n|---|---|---|")
        for rule, whole, top in rows:
            print(f"| {rule} | {whole:.3f} | {top:.3f} |")
        print(flush=True)


if __name__ == "__main__":
    main()
