"""Fitting: the largest parts of the work that fit into memory, and settings that make it fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sdsearch.planning import Peak
from sdsearch_eval.planning.phases import (
    learn_phases,
    paint_phases,
    prepare_phases,
    probe_phases,
    recover_phases,
)
from sdsearch_eval.recovery import Cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sdsearch.unet import Architecture
    from sdsearch_eval.counting import Counted
    from sdsearch_eval.planning.phases import Work

Way = TypeVar("Way")
USABLE = 0.9
"""The share of a memory that networks can have; the rest is a driver's context, other programs, and
holes between blocks."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A stage as it is worked on in some memory: how its steps are cut, and its worst moment."""

    cut: Cut | None
    block: int
    peak: Peak


def fit_prepare(work: Work, room: int) -> Fitted:
    """What all labels share, in the largest blocks of samples that fit into `room` bytes."""
    block, peak = _first_that_fits(
        _halves(work.protocol.block_size), lambda block: prepare_phases(work, block), room
    )
    return Fitted(None, block, peak)


def fit_probe(work: Work, at_once: int, room: int) -> Fitted:
    """A probe's removals, asked about as many inputs at once as fit: it halves them itself."""
    block, peak = _first_that_fits(
        _halves(at_once), lambda images: probe_phases(work, images), room
    )
    return Fitted(None, block, peak)


def fit_label(arch: Architecture, work: Work, room: int) -> Fitted:
    """One label, with the first cut and the largest blocks that fit, as the harness finds them."""
    block, painting = _first_that_fits(
        _halves(work.protocol.block_size), lambda block: paint_phases(arch, work, block), room
    )
    cut = Cut.of(work.machine, work.protocol.recovery.batch_size)
    if not learn_phases(arch, work, cut):
        return Fitted(None, block, painting)
    cut, learning = _first_that_fits(_smaller(cut), lambda cut: learn_phases(arch, work, cut), room)
    return Fitted(cut, block, max(learning, painting, key=lambda peak: peak.total))


def fit_recover(arch: Architecture, work: Work, room: int) -> Fitted:
    """The long recovery of a design, with the first cut that fits."""
    cuts = _smaller(Cut.of(work.machine, work.long.batch_size))
    cut, peak = _first_that_fits(cuts, lambda cut: recover_phases(arch, work, cut), room)
    return Fitted(cut, 1, peak)


def _first_that_fits(
    ways: Iterator[Way], phases: Callable[[Way], Mapping[str, Counted]], room: int
) -> tuple[Way, Peak]:
    """The first way whose worst phase fits, else the last, with that phase."""
    for way in ways:
        found = phases(way)
        name = max(found, key=lambda name: found[name].total)
        worst = found[name]
        peak = Peak(phase=name, parts={**worst.kept, "at work": worst.passing})
        if peak.total <= room:
            break
    return way, peak


def _smaller(cut: Cut | None) -> Iterator[Cut]:
    while cut is not None:
        yield cut
        cut = cut.smaller()


def _halves(block: int) -> Iterator[int]:
    while block > 1:
        yield block
        block //= 2
    yield 1
