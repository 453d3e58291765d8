"""Cheaper labels on the world `fill-16`: what they rank, and what successive halving saves.

    python -m benchmarks.multi_fidelity [--no-timing]      # 3 minutes on 2 quiet cores
    python -m benchmarks.multi_fidelity --measure FOLDER   # the cheap labels; killed, it goes on

Reads the world's uniform members, and what each of them has under the default rung of
`sdsearch label --halving`, a quarter of the samples and a fifth of the recovery steps
(benchmarks/fill-16-rung.jsonl).
Printed: seconds a label on both rungs, measured in this run on the same architectures; their rank
agreement; what halving costs and finds against measuring all of 96 in full, over resamplings; what
a predictor learns from cheap labels.
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

from benchmarks.worlds.labelling import Group, label_groups
from benchmarks.worlds.studies import TABLES, WORLDS, draw_members, list_members
from sdsearch import create_study
from sdsearch.labels import (
    Protocol,
    ResolvedProtocol,
    Rung,
    read_label_table,
    write_label_table,
)
from sdsearch.ranker import fit_ridge
from sdsearch.replay.replay import slots_kept
from sdsearch.stats import spearman, spearman_interval
from sdsearch.workers import HarnessProcess, halve

if TYPE_CHECKING:
    from sdsearch.labels import Label
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

Floats = npt.NDArray[np.float64]
WORLD = WORLDS["fill-16"]
PROTOCOL = Protocol(**WORLD.protocol)
PROTOCOLS = (Rung().cheapen(PROTOCOL), PROTOCOL)
CHEAP, FULL = 0, 1
RUNG = Path(__file__).with_name("fill-16-rung.jsonl")
COLUMN, TOP = "fd_efflite0", 4
CANDIDATES, RESAMPLINGS, LEARNT, JUDGED = 96, 200, 68, 40
TIMED, ROUNDS = 3, 2
KEPT = (0.5, 0.25, 0.125)
"""Shares of the cheaply measured that are measured in full."""


@dataclass(frozen=True)
class Measured:
    """(P) architectures and their values (2, P), cheap and full, lower is better."""

    architectures: tuple[Architecture, ...]
    values: Floats


def main() -> None:
    """Print the four parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-timing", action="store_true", help="costs by counted steps instead")
    parser.add_argument("--measure", type=Path, metavar="FOLDER", help="the cheap labels first")
    asked = parser.parse_args()
    counted = asked.no_timing
    if asked.measure:
        measure_cheaply(asked.measure)
    if not RUNG.is_file():
        parser.error(
            f"the cheap labels must be in {RUNG.name}, but are not measured; --measure them"
        )
    measured = read_measured()
    print(f"{len(measured.architectures)} architectures, drawn uniformly")
    costs = count_costs() if counted else time_labels(measured)
    print_costs(costs, "counted steps and samples" if counted else "measured in this run")
    print_agreement(measured)
    print_halving(measured, costs)
    print_learning(measured, costs)


def measure_cheaply(folder: Path) -> None:
    """Label all uniform members under the rung, and write what this benchmark needs of it."""
    study, members = open_study(folder.resolve(), PROTOCOLS[CHEAP]), draw_members()
    list_members(study, members)
    label_groups([Group.of("rung", study, 0, [arch.key for arch in members])], 2, seconds=1e9)
    labels = study.labels.read_all(study.protocol_key)
    write_label_table(RUNG, map(shorten, labels))
    print(f"{len(labels)} labels in {RUNG}")


def open_study(folder: Path, protocol: Protocol) -> StudyFolder:
    """A study of the world under a protocol."""
    said = WORLD.protocol | {
        "samples": protocol.samples,
        "recovery": {"steps": protocol.recovery.steps},
    }
    return create_study(folder, teacher=WORLD.teacher, space="tiny", protocol=said).folder


def shorten(label: Label) -> Label:
    """What this benchmark needs of a label."""
    kept = {key: label.provenance[key] for key in ("teacher_sha256", "seconds")}
    values = {key: value for key, value in label.values.items() if key == COLUMN}
    return label.model_copy(update={"values": values, "provenance": kept})


def read_measured() -> Measured:
    """The uniform members that have a value on both rungs."""
    found: dict[str, dict[str, float]] = {}
    architectures = {}
    uniform = {arch.key for arch in draw_members()}
    tables = (TABLES / f"{WORLD.name}.jsonl", RUNG)
    for label in (label for table in tables for label in read_label_table(table)):
        if label.seed == 0 and label.status == "ok" and label.arch_key in uniform:
            found.setdefault(label.arch_key, {})[label.protocol_key] = label.scalar(COLUMN)
            architectures[label.arch_key] = label.architecture
    wanted = [ResolvedProtocol(protocol=protocol).key for protocol in PROTOCOLS]
    keys = sorted(key for key, values in found.items() if set(wanted) <= set(values))
    return Measured(
        tuple(architectures[key] for key in keys),
        np.array([[found[key][protocol] for key in keys] for protocol in wanted]),
    )


def count_costs() -> Floats:
    """(2,) costs as shares of a full label, if only steps and samples counted, equally."""
    full = PROTOCOLS[FULL]
    shares = [(p.samples / full.samples, p.recovery.steps / full.recovery.steps) for p in PROTOCOLS]
    return np.array([mean(share) for share in shares])


def time_labels(measured: Measured) -> Floats:
    """(2,) seconds a label: the same architectures under each protocol, in turns."""
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
    study = open_study(folder, protocol)
    list_members(study, chosen)
    with HarnessProcess(study) as labeller:
        labeller.prepare()
        begin = time.perf_counter()
        for arch in chosen:
            labeller.label(arch.key)
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
    """Spearman between the rungs: over all, and over the best quarter by the full label."""
    cheap, full = measured.values
    best = full <= np.quantile(full, 0.25)
    print("\nSRCC between the rungs [95 % interval]:")
    for name, chosen in (("all", np.ones_like(best)), ("best quarter by the full label", best)):
        x, y = cheap[chosen], full[chosen]
        low, high = spearman_interval(x, y, np.random.default_rng(0))
        print(f"  {name} ({len(x)}): {spearman(x, y):.3f} [{low:.2f}, {high:.2f}]")


def print_halving(measured: Measured, costs: Floats) -> None:
    """Halving against measuring all in full, on the same candidates."""
    values, rng = measured.values, np.random.default_rng(1)
    draws = [rng.permutation(values.shape[1])[:CANDIDATES] for _ in range(RESAMPLINGS)]
    print(
        f"\nhalving of {CANDIDATES} candidates, {RESAMPLINGS} resamplings; how much worse the mean "
        f"of the best {TOP} is than of all in full [95 % of resamplings]:"
    )

    def look_up(rung: int, keys: list[str]) -> dict[str, float]:
        return {key: -float(values[rung, int(key)]) for key in keys}

    for share in KEPT:
        behind, same = [], []
        for draw in draws:
            best = np.sort(values[FULL, draw])[:TOP]
            survivors = halve([str(k) for k in draw], [share], look_up)[FULL].values
            found = np.sort([-value for value in survivors.values()])[:TOP]
            behind.append(found.mean() - best.mean())
            same.append(np.array_equal(found, best))
        low, high = np.quantile(behind, [0.025, 0.975])
        cost = costs[CHEAP] / costs[FULL] + share
        print(
            f"  best {share:5.1%} in full: {mean(behind):+.2f} [{low:.2f}, {high:.2f}], the same "
            f"{TOP} in {mean(same):.0%}, cost {cost:.0%}, saving {1 / cost:.1f} times"
        )


def print_learning(measured: Measured, costs: Floats) -> None:
    """Ridge on full labels against ridge on as many, and on as costly, cheap ones."""
    kept, logs = slots_kept(measured.architectures), -np.log(measured.values)
    rng, most = np.random.default_rng(2), len(measured.architectures) - JUDGED
    ways: dict[str, tuple[int, int]] = {f"{LEARNT} full labels": (FULL, LEARNT)}
    equal = min(most, ceil(LEARNT * costs[FULL] / costs[CHEAP]))
    ways |= {f"{count} cheap labels": (CHEAP, count) for count in (LEARNT, equal)}
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(RESAMPLINGS):
        order = rng.permutation(len(measured.architectures))
        judged = order[most:]
        for name, (rung, count) in ways.items():
            learnt = order[:count]
            predicted = fit_ridge(kept[learnt], logs[rung, learnt]).predict(kept[judged])
            found[name].append(spearman(predicted, logs[FULL, judged]))
    print(
        f"\nridge on cheap and on full labels, SRCC with full labels of {JUDGED} others, "
        f"{RESAMPLINGS} resamplings [95 % of them]; cost in shares of {LEARNT} full labels:"
    )
    for name, values in found.items():
        rung, count = ways[name]
        low, high = np.quantile(values, [0.025, 0.975])
        cost = count * costs[rung] / (LEARNT * costs[FULL])
        print(f"  {name:26} {mean(values):.3f} [{low:.3f}, {high:.3f}], cost {cost:4.0%}")


def _name(number: int) -> str:
    return "full" if number == FULL else "cheap"


if __name__ == "__main__":
    main()
