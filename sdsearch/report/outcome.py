"""Outcome: the poster's table from labels and designs - who found the better architectures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING

from sdsearch.console import print_plainly
from sdsearch.labels import Label, Measurement, read_floors
from sdsearch.report.claims import CLAIM_HEADER, claim_notes, make_claims
from sdsearch.report.html import html_table
from sdsearch.report.noise import measure_noise
from sdsearch.space import say_amount
from sdsearch.study import load_meter, read_designs, read_listing, set_beside
from sdsearch.unet import UNPRUNED, count_params, is_full_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Group

    from sdsearch.report.claims import Claim
    from sdsearch.report.noise import MeasuredNoise
    from sdsearch.space import Loader, Meter, Resource
    from sdsearch.study import Beside, StudyFolder

HEADER = ("architectures", "n", "mean", "best", "params")
CLAIMS = "what the differences bear"
MEMBERS = ("teacher", "bk-base", "bk-small", "bk-tiny")


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """One line of the table: n measured architectures of one origin, lower values are better.

    Attributes:
        name: what found the architectures.
        n: how many of them are measured.
        failed: how many could not be measured.
        mean: mean of the quality column.
        mean_se: its standard error over architectures; of the measurement where n is 1.
        best: lowest value.
        best_se: standard error of that one measurement.
        best_key: architecture key of the best.
        params_share: mean parameter count as a share of the teacher's.
    """

    name: str
    n: int
    failed: int
    mean: float
    mean_se: float | None
    best: float
    best_se: float | None
    best_key: str
    params_share: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The table of one study with what is needed to read it."""

    title: str
    column: str
    protocol_key: str
    limits: dict[Resource, float]
    rows: tuple[OutcomeRow, ...]
    noise: MeasuredNoise | None
    floors: dict[str, dict[str, Measurement]]
    beside: Beside | None = None
    claims: tuple[Claim, ...] = ()
    loads_in: tuple[Loader, ...] = ()

    @property
    def heading(self) -> str:
        """What the table shows."""
        return f"{self.column} (lower is better): {self.title}"

    def cells(self) -> list[tuple[str, ...]]:
        """The table's rows as text, in the order of `HEADER`."""
        return [
            (
                row.name + (f" ({row.failed} failed)" if row.failed else ""),
                str(row.n),
                with_error(row.mean, row.mean_se),
                with_error(row.best, row.best_se),
                f"{row.params_share:.1%}",
            )
            for row in self.rows
        ]

    def __repr__(self) -> str:
        best = min(self.rows, key=lambda row: row.best, default=None)
        found = f", best {best.best:.2f} of {best.name}" if best else ""
        return f"Outcome({self.column}: {len(self.rows)} rows{found}; {self.title})"

    def __str__(self) -> str:
        return print_plainly(outcome_table(self), width=100)

    def _repr_html_(self) -> str:
        found, beside = html_table(self.heading, self.cells(), HEADER, notes(self)), self.beside
        if self.claims:
            rows = [claim.cells for claim in self.claims]
            found += html_table(CLAIMS, rows, CLAIM_HEADER, claim_notes(self.claims))
        if beside is None:
            return found
        return found + html_table("beside others", beside.rows, beside.header, [beside.note])


def summarize_outcome(study: StudyFolder) -> Outcome:
    """Compare evaluated, built and named architectures by the labels of this protocol and seed."""
    meter, column = load_meter(study), study.config.protocol.column("fd")
    labels = study.labels.read_all(study.protocol_key)
    by_key = {label.arch_key: label for label in labels if label.seed == study.config.seed}
    limits, floors = meter.limits(study.config.build.budget), read_floors(study.floors_file)
    listing = read_listing(study)
    drawn = listing.keys_from("sample")
    groups = {f"evaluated {study.config.space.strategy}": drawn}
    if limits or meter.loads_in:
        groups["evaluated, within budget"] = [
            key for key in drawn if key in by_key and _within(by_key[key], meter, limits)
        ]
    groups["evaluated active"] = listing.keys_from("proposal")
    designs = read_designs(study)
    for design in designs:
        groups.setdefault(design.method, []).append(design.arch_key)
    members = {name: key for name in MEMBERS if (key := listing.member(name))}
    groups |= {name: [key] for name, key in members.items()}
    single = members | {design.name: design.arch_key for design in designs}
    total = count_params(UNPRUNED, meter.space.backbone)
    rows = [
        row
        for name, keys in groups.items()
        if (row := _row(name, [by_key[key] for key in keys if key in by_key], column, total))
    ]
    evaluated = [by_key[key] for key in drawn if key in by_key]
    return Outcome(
        title=title(study),
        column=column,
        protocol_key=study.protocol_key,
        limits=limits,
        loads_in=meter.loads_in,
        rows=tuple(rows),
        noise=measure_noise(labels, evaluated, column, study.config.ranker.target),
        floors=floors.rows if floors else {},
        beside=set_beside(
            study.config,
            {
                name: by_key[key].values
                for name, key in single.items()
                if key in by_key and by_key[key].status == "ok"
            },
        ),
        claims=make_claims(labels, designs, column, study.config.seed, study.config.report.margin),
    )


def title(study: StudyFolder) -> str:
    """Name the study's numbers; those of a tiny model always say so."""
    pipeline, task = study.config.teacher.pipeline, study.config.protocol.task
    world = task.replace("inpaint", "inpainting")
    if not is_full_size(pipeline):
        shipped = pipeline == "tiny" and task == "inpaint"
        world = "tiny Stable Diffusion" if shipped else f"tiny model, {world}"
    return f"{world}, protocol {study.protocol_key}, label seed {study.config.seed}"


def outcome_table(result: Outcome) -> Group:
    """Return title, table and notes for a terminal."""
    from rich.console import Group
    from rich.table import Table

    def draw(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
        table = Table()
        for name in header:
            table.add_column(name, justify="right" if name != header[0] else "left")
        for row in rows:
            table.add_row(*row)
        return table

    parts: list[str | Table] = [result.heading, draw(HEADER, result.cells()), *notes(result)]
    if result.claims:
        claims = draw(CLAIM_HEADER, [claim.cells for claim in result.claims])
        parts += [CLAIMS, claims, *claim_notes(result.claims)]
    if result.beside:
        parts += [draw(result.beside.header, result.beside.rows)] if result.beside.rows else []
        parts.append(result.beside.note)
    return Group(*parts)


def notes(result: Outcome) -> list[str]:
    """Return what has to be known to read the table."""
    if not result.rows:
        return ["nothing is measured yet; run: sdsearch label STUDY"]
    lines = [
        "mean: standard error over architectures, where n is 1 that of the measurement",
        "params: share of the teacher's",
    ]
    if result.limits:
        stated = ", ".join(
            f"{name} <= {say_amount(limit)}" for name, limit in result.limits.items()
        )
        lines.append(f"budget of the built designs: {stated}")
    if result.loads_in:
        lines.append(f"all built designs load in: {', '.join(result.loads_in)}")
    lines += result.noise.lines() if result.noise else []
    for name, row in result.floors.items():
        if found := row.get(result.column):
            lines.append(f"floor, {name}: {with_error(found.value, found.se)} {result.column}")
    if result.floors:
        reseeded = result.floors["teacher reseeded"]["fd_vs_teacher"]
        lines.append(
            f"the teacher under other noise is {with_error(reseeded.value, reseeded.se)} from "
            "itself (fd_vs_teacher): read no smaller one"
        )
    return lines


def with_error(value: float, error: float | None) -> str:
    """Format a value with its standard error where there is one."""
    return f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"


def _row(name: str, labels: list[Label], column: str, teacher_params: int) -> OutcomeRow | None:
    measured = [label for label in labels if label.status == "ok"]
    if not measured:
        return None
    values = [label.scalar(column) for label in measured]
    best = min(measured, key=lambda label: label.scalar(column))
    n = len(values)
    return OutcomeRow(
        name=name,
        n=n,
        failed=len(labels) - n,
        mean=fmean(values),
        mean_se=stdev(values) / math.sqrt(n) if n > 1 else _error(best, column),
        best=best.scalar(column),
        best_se=_error(best, column),
        best_key=best.arch_key,
        params_share=fmean(label.scalar("params") for label in measured) / teacher_params,
    )


def _error(label: Label, column: str) -> float | None:
    value = label.values[column]
    return value.se if isinstance(value, Measurement) else None


def _within(label: Label, meter: Meter, limits: Mapping[Resource, float]) -> bool:
    if meter.why_not_loaded(label.architecture) is not None:
        return False
    costs = meter.member(label.architecture)
    return label.status == "ok" and all(costs[name] <= limit for name, limit in limits.items())


def _pooled(groups: list[list[float]]) -> float:
    """Return the pooled standard deviation of groups of two or more values."""
    freedom = sum(len(group) - 1 for group in groups)
    return math.sqrt(sum(variance(group) * (len(group) - 1) for group in groups) / freedom)
