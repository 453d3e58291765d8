"""Scoring all 704,000 members: distinct neighbourhoods once, against batched PyG forwards.

Run `python -m benchmarks.bench_exhaustive`. PyG is timed on a few thousand members whose graphs are
made beforehand, which favours it, and scaled up to all of them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from benchmarks.pyg_ranker import PygRanker, batch_of
from sdsearch.ranker import (
    FeatureLayout,
    FittedNet,
    FittedRanker,
    Ranker,
    RankerConfig,
    fit_ranker,
    score_space,
)
from sdsearch.space import search_space
from tests.planted import PlantedTruth

MEMBERS = 20
TIMED, COMPARED, BATCH = 2048, 500, 256


def with_one_member(fitted: FittedRanker, layout: FeatureLayout) -> FittedRanker:
    """The same fit with one model of fresh weights: as fast as a trained one."""
    config, generator = fitted.config, torch.Generator().manual_seed(0)
    ranker = Ranker(1, layout, config.hops, config.width, generator)
    net = fitted.nets["gnn"]
    one = FittedNet(layout, ranker, net.centre[:1], net.spread[:1])
    return replace(fitted, nets={"gnn": one})


def main() -> None:
    """Time both, compare their predictions, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    space = search_space("tiny")
    layout = FeatureLayout.for_space(space)
    rng = np.random.default_rng(0)
    truth, archs = PlantedTruth.draw(rng), space.sample(68, rng)
    config = RankerConfig(kind="gnn", repeats=MEMBERS // 5)
    fitted = fit_ranker(space, archs, truth.labels(archs, rng), config, rng)
    single = with_one_member(fitted, layout)
    start = time.perf_counter()
    score_space(single, space)
    alone = time.perf_counter() - start
    start = time.perf_counter()
    scored = score_space(fitted, space)
    ensemble = time.perf_counter() - start
    print(f"{len(space):,} members, one model: {alone:.1f} s; {MEMBERS} models: {ensemble:.1f} s")
    ours = fitted.nets["gnn"]
    nets = [PygRanker.of_member(ours.ranker, member) for member in range(MEMBERS)]
    numbers = rng.choice(len(space), TIMED, replace=False)
    members_archs = [space.arch(int(number)) for number in numbers]
    batches = [
        batch_of(members_archs[i : i + BATCH], space.backbone, layout)
        for i in range(0, TIMED, BATCH)
    ]
    with torch.inference_mode():
        nets[0](batches[0])
        start = time.perf_counter()
        for batch in batches:
            nets[0](batch)
        pyg = (time.perf_counter() - start) / TIMED * len(space)
        few = batch_of(members_archs[:COMPARED], space.backbone, layout)
        found = torch.stack([net(few)[1] for net in nets], 1) * ours.spread + ours.centre
    apart = np.abs(found.mean(1).numpy() - scored.predicted[numbers[:COMPARED]]).max()
    print(f"PyG, one model, {TIMED} members in batches of {BATCH}: all would take {pyg:.0f} s")
    print(f"largest difference on {COMPARED} members: {apart:.1e} (at most 1e-5)")
    print(f"ratio to batched PyG: {pyg / alone:.0f} for one model (at least 20)")
    print(f"ratio to batched PyG: {MEMBERS * pyg / ensemble:.0f} for {MEMBERS} models")


if __name__ == "__main__":
    main()
