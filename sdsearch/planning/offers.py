"""Offers: what labels would cost on this machine, and what so many were worth where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from sdsearch.design import FEWEST_TO_HALVE, LabelWorth
from sdsearch.planning.values import Offer, Offers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.planning.values import StudyPlan
    from sdsearch.study import Stage, StudyFolder


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a learning curve: by which method, and both of its measures."""

    method: str
    srcc: float
    designs: float


CURVE: Mapping[int, Point] = MappingProxyType(
    {
        0: Point("one-shot", 0.725, 253.4),
        16: Point("gnn-probe", 0.767, 250.3),
        32: Point("gnn-probe", 0.878, 250.1),
        68: Point("gnn-probe", 0.919, 250.6),
    }
)
"""With the probe that a run begins with, by labels: SRCC over all held-out members of the tiny
table, and the mean distance of the four that are put first within 60 % of the
multiply-accumulates. They are those of benchmarks/learning_curves.md; a test holds them to it."""
COLUMN = "fd_efflite0"


def offer_labels(study: StudyFolder, plan: StudyPlan) -> Offers:
    """What more labels cost by the plan's own seconds, and what they are worth.

    A study that was fitted on enough labels says so itself (`LabelWorth`); others are told what the
    tiny teacher's table says, which is all that is known.

    Raises:
        InputError: the file that says what the study's labels are worth is damaged.
    """
    clock = _Clock.of(plan)
    file = study.ranker_dir / "worth.json"
    worth = LabelWorth.read(file, "what labels are worth", f"sdsearch fit {study.root}")
    if worth is not None:
        rows: tuple[Offer, ...] = (
            Offer(labels=worth.half, seconds=0.0, method=worth.kind, srcc=worth.srcc_half),
            Offer(labels=worth.labels, seconds=0.0, method=worth.kind, srcc=worth.srcc),
            Offer(labels=2 * worth.labels, seconds=clock.more(worth.labels), method=worth.kind),
        )
        source = f"this study's own labels when it was last fitted: {worth.describe()}"
        return Offers(rows=rows, column=None, source=source)
    rows = tuple(
        Offer(
            labels=labels,
            seconds=clock.from_start(labels),
            method=point.method,
            srcc=point.srcc,
            designs=point.designs,
        )
        for labels, point in CURVE.items()
    )
    return Offers(rows=rows, column=COLUMN, source=_name_source(study))


def _name_source(study: StudyFolder) -> str:
    own = study.config.teacher.pipeline == "tiny"
    whose = "the tiny teacher's own table" if own else "a tiny teacher, another than this study's"
    found = (
        f"learning curves of {whose}: tiny numbers, means over at most 8 draws of labels; SRCC "
        f"over all held-out members, designs: mean {COLUMN} of four within 60 % of the "
        "multiply-accumulates"
    )
    labels = len(study.labels.read_series(study.series))
    if labels < FEWEST_TO_HALVE:
        return found
    return f"{found}; what its own {labels} labels say: sdsearch fit {study.root}"


@dataclass(frozen=True, slots=True)
class _Clock:
    """Seconds of a plan: of one label, and of what comes before the first; None where untimed."""

    each: float | None
    shared: float | None
    probe: float | None

    @classmethod
    def of(cls, plan: StudyPlan) -> _Clock:
        needs = {need.stage: need for need in plan.needs}

        def seconds(stage: Stage) -> float | None:
            return needs[stage].seconds if stage in needs else 0.0  # it is done

        labelled = needs.get("label") or needs.get("measure")
        each = None
        if labelled is not None and labelled.seconds is not None:
            each = labelled.seconds / labelled.times
        return cls(each, seconds("prepare"), seconds("probe"))

    def more(self, labels: int) -> float | None:
        """Until so many more are measured, with what they share where it is not there."""
        if self.shared is None or self.each is None:
            return None
        return self.shared + labels * self.each

    def from_start(self, labels: int) -> float | None:
        """The probe, and then until so many are measured."""
        measured = self.more(labels) if labels else 0.0
        return None if self.probe is None or measured is None else self.probe + measured
