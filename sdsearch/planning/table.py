"""The plan in words: a table of stages, what would be refused, and settings for smaller cards."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sdsearch.planning.values import Need, Offer, Offers, Proposal, StudyPlan

_NAMES = {
    "tune": "the teacher learns to inpaint",
    "probe": "removals of a probe",
    "prepare": "what all labels share",
    "label": "labels of the sample",
    "search": "fit, score, build",
    "measure": "labels of designs",
    "remake": "weights of imported labels",
    "compare": "pictures side by side",
    "export": "exports",
    "recover": "recover one design",
}
_HEAD = ("stage", "times", "device GB", "host GB", "disk GB", "time", "")


def describe_plan(plan: StudyPlan) -> str:
    """A plan as text: lines of at most some 100 characters, problems last."""
    return "\n".join(_lines(plan))


def _lines(plan: StudyPlan) -> Iterator[str]:
    machine = plan.machine
    room = f"{machine.room / 1e9:.1f} GB"
    yield f"{machine.device}, {room}; {machine.disk_bytes / 1e9:.0f} GB of disk free"
    yield from _align([_HEAD, *(_row(need) for need in plan.needs)])
    seconds = plan.seconds
    total = "cannot be said, as not all fits" if seconds is None else _span(seconds)
    yield f"sdsearch run: {total} on this machine, {plan.disk / 1e9:.1f} GB of disk"
    if plan.workspace and machine.device_bytes:
        yield (
            f"float32 convolutions may take {plan.workspace / 1e9:.1f} GB besides, where they are "
            "free"
        )
    yield from _offered(plan.offers) if plan.offers else ()
    yield from (_proposed(proposal) for proposal in plan.proposals)
    yield from (f"problem: {problem}" for problem in plan.problems)


def _align(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Rows of as many cells: the first to the left, the last, a remark, as it is."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells, row[-1]]).rstrip()


def _offered(offers: Offers) -> Iterator[str]:
    head = ("labels", "time here", "SRCC", *(("designs",) if offers.column else ()), "by")
    yield from _align([head, *(_offer(row, offers.column) for row in offers.rows)])
    yield from textwrap.wrap(f"SRCC from {offers.source}", 100, break_on_hyphens=False)


def _offer(row: Offer, column: str | None) -> tuple[str, ...]:
    designs = "-" if row.designs is None else f"{row.designs:.1f}"
    return (
        str(row.labels),
        "-" if row.seconds is None else _span(row.seconds),
        "not known" if row.srcc is None else f"{row.srcc:.2f}",
        *((designs,) if column else ()),
        row.method,
    )


def _row(need: Need) -> tuple[str, ...]:
    device = f"{need.device.total / 1e9:.1f}" if need.device else "-"
    remarks = [need.cut or "", "" if need.fits else f"does not fit: {need.memory.phase}"]
    return (
        _NAMES[need.stage],
        str(need.times),
        device,
        f"{need.host.total / 1e9:.1f}",
        f"{need.disk / 1e9:.1f}",
        "-" if need.seconds is None else _span(need.seconds),
        "; ".join(remark for remark in remarks if remark),
    )


def _proposed(proposal: Proposal) -> str:
    what = f"{proposal.stage} on {proposal.gigabytes:g} GB"
    need = f"{proposal.need / 1e9:.1f} of {proposal.usable / 1e9:.1f} GB that can be used"
    if not proposal.fits:
        return f"{what}: no setting makes it fit; at least {need}"
    settings = "; ".join(proposal.lines) or "as it is"
    return f"{what}: {need}: {settings}"


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 1 else "< 1 s"
