"""Cheaper labels on the tiny benchmark: what they rank, and what successive halving saves.

    python -m benchmarks.multi_fidelity [--no-timing]      # 4 minutes on 2 quiet cores

Reads the table (assets/tiny-labels.jsonl) and those of its architectures that were drawn uniformly
or stratified under two cheaper protocols (benchmarks/tiny-rungs.jsonl, which
scripts/make_tiny_rungs.py makes). Printed: seconds a label of each rung, measured in this run on
the same architectures; the rank agreement between rungs; what halving costs and finds against
measuring all of 128 in full, over resamplings; what a predictor learns from cheap labels.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sdsearch.assets import asset_path
from sdsearch.baselines import fit_ridge
from sdsearch.content import canonical_json
from sdsearch.files import write_atomic
from sdsearch.halving import keep_best
from sdsearch.harness_process import HarnessProcess
from sdsearch.labels import read_table
from sdsearch.protocol import Protocol, Rung
from sdsearch.replay import slots_kept
from sdsearch.stats import spearman, spearman_interval
from sdsearch.study import load_study

if TYPE_CHECKING:
    from sdsearch.architecture import Architecture

Floats = npt.NDArray[np.float64]
RUNGS = (Rung(samples=0.25, recovery=0.2), Rung(samples=0.5, recovery=0.5))
PROTOCOLS = (*(rung.cheapen(Protocol()) for rung in RUNGS), Protocol())
FULL = len(PROTOCOLS) - 1
TABLES = (asset_path("tiny-labels.jsonl"), Path(__file__).with_name("tiny-rungs.jsonl"))
COLUMN, TOP = "fd_efflite0", 4
CANDIDATES, RESAMPLINGS, LEARNT, JUDGED = 128, 200, 68, 40
TIMED, ROUNDS = 3, 2
LADDERS: dict[str, tuple[tuple[int, float], ...]] = {
    "all in full": (),
    "rung 0, best half": ((0, 0.5),),
    "rung 0, best quarter": ((0, 0.25),),
    "rung 0, best eighth": ((0, 0.125),),
    "rung 0, quarter; rung 1, half": ((0, 0.25), (1, 0.5)),
}
"""Name -> (rung, share of its architectures that go on), the last are measured in full."""


@dataclass(frozen=True)
class Measured:
    """(P) architectures and their values (rungs + 1, P), lower is better; the last row is full.

    Rung 0 and full are there for all; rung 1, NaN elsewhere, for the best by rung 0.
    """

    architectures: tuple[Architecture, ...]
    values: Floats


def main() -> None:
    """Print the four parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-timing", action="store_true", help="costs by counted steps instead")
    counted = parser.parse_args().no_timing
    measured = read_measured()
    print(f"{len(measured.architectures)} architectures, drawn uniformly and stratified")
    costs = count_costs() if counted else time_labels(measured)
    print_costs(costs, "counted steps and samples" if counted else "measured in this run")
    print_agreement(measured)
    print_halving(measured, costs)
    print_learning(measured, costs)


def read_measured() -> Measured:
    """The architectures that have a value by rung 0 and in full."""
    found: dict[str, dict[str, float]] = {}
    architectures = {}
    for label in (label for table in TABLES for label in read_table(table)):
        if label.seed == 0 and label.status == "ok":
            found.setdefault(label.arch_key, {})[label.protocol_key] = label.scalar(COLUMN)
            architectures[label.arch_key] = label.architecture
    wanted = [protocol.key for protocol in PROTOCOLS]
    needed = {wanted[0], wanted[FULL]}
    keys = sorted(key for key, values in found.items() if needed <= set(values))
    return Measured(
        tuple(architectures[key] for key in keys),
        np.array([[found[key].get(protocol, np.nan) for key in keys] for protocol in wanted]),
    )


def count_costs() -> Floats:
    """(rungs + 1,) costs as shares of a full label, if only steps and samples counted, equally."""
    full = PROTOCOLS[FULL]
    shares = [(p.samples / full.samples, p.recovery.steps / full.recovery.steps) for p in PROTOCOLS]
    return np.array([mean(share) for share in shares])


def time_labels(measured: Measured) -> Floats:
    """(rungs + 1,) seconds a label: the same architectures under each protocol, in turns."""
    rng = np.random.default_rng(0)
    chosen = [
        measured.architectures[i] for i in rng.permutation(len(measured.architectures))[:TIMED]
    ]
    seconds = np.zeros((len(PROTOCOLS), ROUNDS))
    with TemporaryDirectory() as place:
        for turn in range(ROUNDS):
            for number, protocol in enumerate(PROTOCOLS):
                folder = Path(place) / f"{turn}-{number}"
                seconds[number, turn] = time_protocol(folder, protocol, chosen)
    return np.asarray(seconds.min(1), np.float64)


def time_protocol(folder: Path, protocol: Protocol, chosen: list[Architecture]) -> float:
    """Mean seconds a label once what all share is there."""
    folder.mkdir()
    (folder / "study.toml").write_text(
        f"[protocol]\nsamples = {protocol.samples}\n"
        f"recovery = {{ steps = {protocol.recovery.steps} }}\n"
    )
    study = load_study(folder)
    rows = [
        {"arch_key": arch.key, "architecture": arch.model_dump(mode="json"), "origin": "uniform"}
        for arch in chosen
    ]
    write_atomic(study.architectures_file, "".join(canonical_json(row) + "\n" for row in rows))
    with HarnessProcess(study, 0) as labeller:
        labeller.prepare()
        begin = time.perf_counter()
        for arch in chosen:
            labeller.label(arch.key, lambda: False)
        return (time.perf_counter() - begin) / len(chosen)


def print_costs(costs: Floats, how: str) -> None:
    """What a label costs at every rung."""
    print(f"\ncost of a label, {how}:")
    for number, protocol in enumerate(PROTOCOLS):
        print(
            f"  {_name(number)}: {protocol.samples} samples, {protocol.recovery.steps} recovery "
            f"steps: {costs[number]:.2f}, a full one costs {costs[FULL] / costs[number]:.1f} times"
        )


def print_agreement(measured: Measured) -> None:
    """Spearman between rungs: over all, and over the best quarter by the full label."""
    values = measured.values
    best = values[FULL] <= np.quantile(values[FULL], 0.25)
    print("\nSRCC between rungs [95 % interval], of all; of the best quarter by the full label:")
    for a in range(FULL):
        for b in range(a + 1, FULL + 1):
            said = []
            for chosen in (np.ones_like(best), best):
                both = chosen & np.isfinite(values[a]) & np.isfinite(values[b])
                x, y = values[a, both], values[b, both]
                low, high = spearman_interval(x, y, np.random.default_rng(0))
                said.append(f"{spearman(x, y):.3f} [{low:.2f}, {high:.2f}] of {both.sum()}")
            print(f"  {_name(a)} and {_name(b)}: {said[0]}; {said[1]}")


def climb(
    values: Floats, ladder: tuple[tuple[int, float], ...], costs: Floats
) -> tuple[Floats, float]:
    """The full values of those that reach the top, best first, and what all of it cost."""
    left, cost = list(range(values.shape[1])), 0.0
    for rung, share in ladder:
        if not np.isfinite(values[rung, left]).all():
            raise SystemExit(f"{TABLES[1]} lacks labels of rung {rung}; run make_tiny_rungs.py")
        cost += costs[rung] * len(left)
        kept = keep_best({f"{i:05d}": -float(values[rung, i]) for i in left}, share)
        left = [int(key) for key in kept]
    return np.sort(values[FULL, left]), cost + costs[FULL] * len(left)


def print_halving(measured: Measured, costs: Floats) -> None:
    """Every ladder against measuring all in full, on the same candidates."""
    values, rng = measured.values, np.random.default_rng(1)
    draws = [rng.permutation(values.shape[1])[:CANDIDATES] for _ in range(RESAMPLINGS)]
    print(
        f"\nsuccessive halving of {CANDIDATES} candidates, {RESAMPLINGS} resamplings; how much "
        f"worse the mean of the best {TOP} is than of all in full [95 % of resamplings]:"
    )
    whole = CANDIDATES * costs[FULL]
    for name, ladder in LADDERS.items():
        behind, same, share = [], [], []
        for draw in draws:
            found, cost = climb(values[:, draw], ladder, costs)
            best = np.sort(values[FULL, draw])
            behind.append(found[:TOP].mean() - best[:TOP].mean())
            same.append(np.array_equal(found[:TOP], best[:TOP]))
            share.append(cost / whole)
        low, high = np.quantile(behind, [0.025, 0.975])
        print(
            f"  {name:31} {mean(behind):+6.2f} [{low:.2f}, {high:.2f}], the same {TOP} in "
            f"{mean(same):4.0%}, cost {mean(share):4.0%}, saving {1 / mean(share):.1f} times"
        )


def print_learning(measured: Measured, costs: Floats) -> None:
    """Ridge on full labels against ridge on as many, and on as costly, cheap ones."""
    kept, logs = slots_kept(measured.architectures), -np.log(measured.values)
    rng, most = np.random.default_rng(2), len(measured.architectures) - JUDGED
    ways: dict[str, tuple[int, int]] = {f"{LEARNT} full labels": (FULL, LEARNT)}
    equal = min(most, ceil(LEARNT * costs[FULL] / costs[0]))
    ways |= {f"{count} labels of rung 0": (0, count) for count in (LEARNT, equal)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RESAMPLINGS):
        order = rng.permutation(len(measured.architectures))
        judged = order[most:]
        for name, (rung, count) in ways.items():
            learnt = order[:count]
            predicted = fit_ridge(kept[learnt], logs[rung, learnt]).predict(kept[judged])
            found[name].append(spearman(predicted, logs[FULL, judged]))
    print(
        f"\nridge on labels of a rung, SRCC with full labels of {JUDGED} others, "
        f"{RESAMPLINGS} resamplings [95 % of them]; cost in shares of {LEARNT} full labels:"
    )
    for name, values in found.items():
        rung, count = ways[name]
        low, high = np.quantile(values, [0.025, 0.975])
        cost = count * costs[rung] / (LEARNT * costs[FULL])
        print(f"  {name:26} {mean(values):.3f} [{low:.3f}, {high:.3f}], cost {cost:4.0%}")


def _name(number: int) -> str:
    return "full" if number == FULL else f"rung {number}"


if __name__ == "__main__":
    main()
