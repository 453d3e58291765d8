"""Whether a tiny teacher deserves a search: its dead weight, and how far simple rules get.

    python -m benchmarks.worlds.gate [WORLD ...] [--out FILE]      # a minute a world on 2 cores

From the committed probe and labels (assets/worlds/labels), and some dozens of forward passes for
blocks that are removed together. A world passes for a budget when dead weight is at most a quarter
of what the budget counts, levels 0, 1 and 2 each change the output by 2 % or more, all of the first
32 uniform members are worse than the teacher by a test that is paired over scenes, and the best
simple rule is over 10 % behind it. The last two are of the column that the world is compared in.
docs/decisions/0032 says why.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.worlds.removing import REMOVED, measure_change, remove
from benchmarks.worlds.rules import BUDGETS, RULES, rule_designs
from benchmarks.worlds.studies import TABLES, WORLDS, World, draw_members
from sdsearch.design import read_probe
from sdsearch.files import write_atomic
from sdsearch.labels import Measurement, read_label_table
from sdsearch.pipelines import open_pipeline
from sdsearch.ranker import errors_of
from sdsearch.replay import DRAW
from sdsearch.space import list_losses, list_removals
from sdsearch.stats import paired_difference, spearman
from sdsearch.study import find_teacher, load_meter
from sdsearch.unet import SLOTS, UNPRUNED
from sdsearch_eval.models import load_teacher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sdsearch.design import Probe
    from sdsearch.labels import Label
    from sdsearch.space import Meter, SearchSpace
    from sdsearch.unet import Architecture

    Change = Callable[[Architecture], float]

FIRST_COLUMN, FIRST_ERRORS = "fd_efflite0", 2.0
"""How noise was counted first: by so many standard errors of the teacher's own value in it."""
DEAD, MOST_DEAD, LEAST_LEVEL, LEAST_BEHIND = 0.01, 0.25, 0.02, 0.10
ORDERED = 100


@dataclass(frozen=True)
class Gate:
    """What the gate found of a world.

    Attributes:
        shares: by unit, the share of the errors of all single removals.
        effective: how many single removals there are in effect, the inverse of the sum of their
            squared shares.
        single: how many there are.
        levels: by what is removed together, the change of the output.
        dead: share of parameters, MACs and milliseconds of the blocks that change it by under 1 %.
        order: SRCC of MACs with the one-shot error over uniform members.
        near: how many of the first uniform members are not shown to be worse than the teacher.
        near_first: how many of them are within the teacher's own error, as it was counted first.
        behind: by budget, how far the best simple rule is behind the teacher.
    """

    world: World
    shares: Mapping[str, float]
    effective: float
    single: int
    levels: Mapping[str, float]
    dead: Mapping[str, float]
    order: float
    near: int | None
    near_first: int | None
    behind: Mapping[str, float | None]

    def passes(self, budget: str) -> bool | None:
        """Whether it passes for a budget; None where what decides was not measured."""
        behind = self.behind[budget]
        alive = min(self.levels[f"level {at}"] for at in (0, 1, 2))
        fails = (
            self.dead[BUDGETS[budget][0]] > MOST_DEAD
            or alive < LEAST_LEVEL
            or bool(self.near)
            or (behind is not None and behind <= LEAST_BEHIND)
        )
        return False if fails else None if self.near is None or behind is None else True

    def word(self, budget: str) -> str:
        """The same as tables say it."""
        return {True: "yes", False: "no", None: "not measured"}[self.passes(budget)]


def main() -> None:
    """Print a table with a row for each property and a column for each world."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = [measure_gate(WORLDS[name], Path(folder)) for name in asked.worlds]
    text = describe(found)
    if asked.out:
        write_atomic(asked.out, text + "\n")
    print(text)


def measure_gate(world: World, folder: Path) -> Gate:
    """Everything of one world; what has no labels is left open."""
    study = world.study(folder)
    meter, space = load_meter(study), load_meter(study).space
    probe = read_probe(TABLES / f"{world.name}-probe.json")
    assert probe is not None, "its probe is committed"
    labels = {
        one.arch_key: one
        for one in read_label_table(TABLES / f"{world.name}.jsonl")
        if (one.seed, one.protocol_key) == (0, study.protocol_key)
    }
    change = measure_change(load_teacher(open_pipeline(find_teacher(study)), torch.device("cpu")))
    errors = single_errors(probe, space)
    total = sum(errors.values())
    shares = {
        unit.name: sum(errors[at, n] for at, n in errors if at == axis) / total
        for axis, unit in enumerate(space.units)
    }
    members = draw_members()
    macs = [meter.member(arch)["macs"] for arch in members[:ORDERED]]
    one_shot = errors_of(members[:ORDERED], space, probe.option_errors(space))
    rules = {key: labels.get(arch.key) for key, arch in rule_designs(study).items()}
    return Gate(
        world=world,
        shares=shares,
        effective=1 / sum((error / total) ** 2 for error in errors.values()),
        single=len(errors),
        levels={name: change(remove(at, bottom=bottom)) for name, (at, bottom) in REMOVED.items()},
        dead=find_dead_weight(meter, probe, change),
        order=spearman(macs, -one_shot),
        near=count_near(labels, members[:DRAW], world.endpoint),
        near_first=count_near_first(labels, members[:DRAW]),
        behind={
            budget: behind_teacher(labels, rules, budget, world.endpoint) for budget in BUDGETS
        },
    )


def single_errors(probe: Probe, space: SearchSpace) -> dict[tuple[int, int], float]:
    """By (unit, option) the errors of the smallest removals: those that hold no smaller one."""
    found, errors = {}, probe.option_errors(space)
    for axis, numbers in enumerate(list_removals(space)):
        losses = list_losses(space, axis)
        for number in numbers:
            if losses[number] and not any(loss and loss < losses[number] for loss in losses):
                found[axis, number] = float(errors[axis][number])
    return found


def find_dead_weight(meter: Meter, probe: Probe, change: Change) -> dict[str, float]:
    """What goes when options are taken in the order of their errors, while under 1 % changes.

    An option is taken where it loses all that is lost in its unit already, and more: so whole
    levels go where they are dead, whichever of their blocks are least.
    """
    space, arch = meter.space, UNPRUNED
    errors = probe.option_errors(space)
    numbers = [(axis, n) for axis, one in enumerate(errors) for n in range(len(one))]
    for axis, number in sorted(numbers, key=lambda at: errors[at[0]][at[1]]):
        losses, digits = list_losses(space, axis), np.array([space.option_indices(arch)])
        if errors[axis][number] >= DEAD or not losses[digits[0, axis]] < losses[number]:
            continue
        digits[0, axis] = number
        emptier = space.arch(int(space.indices(digits)[0]))
        if change(emptier) < DEAD:
            arch = emptier
    whole, left = meter.member(UNPRUNED), meter.member(arch)
    kept = arch.kept_slots
    times = {slot.name: probe.milliseconds[slot.name] for slot in SLOTS}
    gone = sum(time for name, time in times.items() if name not in kept)
    return {
        "params": 1 - left["params"] / whole["params"],
        "macs": 1 - left["macs"] / whole["macs"],
        "milliseconds": gone / sum(times.values()),
    }


def count_near(labels: Mapping[str, Label], members: list[Architecture], column: str) -> int | None:
    """How many members are not worse than the teacher beyond noise, in a column where low is good.

    Scenes move both alike, so the noise is that of the difference: one is worse where the 95 %
    interval of its difference, paired over scenes, lies above 0, or where it failed. None where
    any was not measured.
    """
    found = [labels[arch.key] for arch in [UNPRUNED, *members] if arch.key in labels]
    values = [label.values.get(column) for label in found if not label.failure]
    measured = [value for value in values if isinstance(value, Measurement) and value.blocks]
    if len(found) <= len(members) or len(measured) < len(values):
        return None
    teacher, *others = measured
    return sum(paired_difference(one, teacher).interval().low <= 0 for one in others)


def count_near_first(labels: Mapping[str, Label], members: list[Architecture]) -> int | None:
    """How many members are within the error of the teacher's own value, which scenes have too."""
    if any(arch.key not in labels for arch in [UNPRUNED, *members]):
        return None
    teacher = labels[UNPRUNED.key].values[FIRST_COLUMN]
    assert isinstance(teacher, Measurement), "a distance is measured"
    most = teacher.value + FIRST_ERRORS * (teacher.se or 0.0)
    ok = [labels[arch.key] for arch in members if not labels[arch.key].failure]
    return sum(label.scalar(FIRST_COLUMN) <= most for label in ok)


def behind_teacher(
    labels: Mapping[str, Label],
    rules: Mapping[tuple[str, str], Label | None],
    budget: str,
    column: str,
) -> float | None:
    """How far the best of the rules is behind the teacher; None where one was not measured."""
    found = [rules[budget, rule] for rule in RULES]
    measured = [
        np.inf if label.failure else label.scalar(column) for label in found if label is not None
    ]
    if UNPRUNED.key not in labels or len(measured) < len(RULES):
        return None
    return min(measured) / labels[UNPRUNED.key].scalar(column) - 1


def describe(gates: list[Gate]) -> str:
    """The table."""
    rows: list[list[str]] = [["", *(gate.world.name for gate in gates)]]
    rows.append(["---"] * len(rows[0]))

    def add(name: str, said: Callable[[Gate], str]) -> None:
        rows.append([name, *(said(gate) for gate in gates)])

    add("single removals, effective number", lambda g: f"{g.effective:.1f} of {g.single}")
    for name in ("level0", "level1", "level2", "bottom"):
        add(f"share of single errors: {name}", lambda g, name=name: f"{g.shares[name]:.1%}")
    for name in REMOVED:
        add(f"change without {name}", lambda g, name=name: f"{g.levels[name]:.2%}")
    for name in ("params", "macs", "milliseconds"):
        add(f"dead weight, of {name}", lambda g, name=name: f"{g.dead[name]:.0%}")
    add("SRCC of MACs with one-shot", lambda g: f"{g.order:.2f}")
    add(f"of {DRAW} members within noise", lambda g: _or_open(g.near, "d"))
    add("the same, as counted first", lambda g: _or_open(g.near_first, "d"))
    for budget in BUDGETS:
        add(
            f"best rule behind the teacher, {budget}",
            lambda g, b=budget: _or_open(g.behind[b], ".0%"),
        )
    for budget in BUDGETS:
        add(f"**passes for {budget}**", lambda g, b=budget: g.word(b))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _or_open(value: float | None, form: str) -> str:
    return "not measured" if value is None else format(value, form)


if __name__ == "__main__":
    main()
