"""Successive halving: measure all cheaply, and only the best of each rung on the next, dearer one.

As in Jamieson & Talwalkar 2016, with rungs of fewer recovery steps and samples. A rung is whole
before the next begins, so that who goes on does not depend on which worker was faster. What is left
behind has labels of its rungs' protocols only: use it to find the best of many architectures, not
to get labels for a ranker, which needs bad ones too.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from sdsearch.errors import WorkError
from sdsearch.model import FrozenModel
from sdsearch.stats import spearman

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdsearch.study import StudyFolder


class RungReport(FrozenModel):
    """What came of a rung; `srcc` is with the rung before, over those that both have measured."""

    protocol_key: str
    samples: int
    recovery_steps: int
    measured: int
    failed: int
    kept: int
    srcc: float | None

    def describe(self) -> str:
        """The same in words."""
        said = (
            f"{self.samples} samples, {self.recovery_steps} recovery steps: {self.measured} "
            f"measured, {self.failed} failed, {self.kept} kept"
        )
        return said if self.srcc is None else f"{said}; SRCC with the rung before {self.srcc:.2f}"


def label_by_halving(
    study: StudyFolder, keys: Sequence[str], label: Callable[[int | None, list[str]], None]
) -> list[RungReport]:
    """Label `keys` rung by rung, the survivors under the study's own protocol at last.

    Args:
        study: its `[label] rungs` say how cheap a rung is and what share goes on.
        keys: architecture keys.
        label: labels keys at a rung; None means the study's own protocol.

    Raises:
        WorkError: all architectures of a rung failed.
    """
    rungs = study.config.label.rungs
    studies = [study.at_rung(rung) for rung in study.rungs]

    def measure(number: int, left: list[str]) -> dict[str, float]:
        label(number if number < len(rungs) else None, left)
        return read_values(studies[number], left)

    found = halve(keys, [rung.keep for rung in rungs], measure)
    before: list[dict[str, float]] = [{}, *(rung.values for rung in found[:-1])]
    return [
        RungReport(
            protocol_key=at.protocol_key,
            samples=at.config.protocol.samples,
            recovery_steps=at.config.protocol.recovery.steps,
            measured=len(rung.values),
            failed=len(rung.asked) - len(rung.values),
            kept=len(rung.kept),
            srcc=_agreement(last, rung.values),
        )
        for at, rung, last in zip(studies, found, before, strict=True)
    ]


class Measured(NamedTuple):
    """A rung: who was measured, the values of those that did not fail, and who goes on."""

    asked: list[str]
    values: dict[str, float]
    kept: list[str]


def halve(
    keys: Sequence[str],
    shares: Sequence[float],
    measure: Callable[[int, list[str]], dict[str, float]],
) -> list[Measured]:
    """Measure `keys` on rung 0, the best share of each rung on the next, the dearest at last.

    Args:
        keys: what competes.
        shares: which share of each rung but the last goes on.
        measure: the values of keys on a rung, higher is better; those that fail have none.

    Raises:
        WorkError: a rung has no values.
    """
    left, found = list(dict.fromkeys(keys)), list[Measured]()
    for number, share in enumerate((*shares, 1.0)):
        values = measure(number, left)
        found.append(Measured(left, values, keep_best(values, share)))
        left = found[-1].kept
    return found


def _agreement(before: Mapping[str, float], values: Mapping[str, float]) -> float | None:
    both = [key for key in values if key in before]
    if len(both) < 3:
        return None
    return spearman([before[key] for key in both], [values[key] for key in both])


def keep_best(values: Mapping[str, float], share: float) -> list[str]:
    """The keys of the highest `share` of the values, rounded up, best first; equals by key.

    Raises:
        WorkError: there are no values.
    """
    if not values:
        raise WorkError("every architecture of a rung failed; the labels say why")
    ordered = sorted(values, key=lambda key: (-values[key], key))
    return ordered[: ceil(share * len(values))]


def read_values(study: StudyFolder, keys: Sequence[str]) -> dict[str, float]:
    """The study's target of each of `keys` whose label is no failure; higher is better."""
    labels, target = study.labels.read_series(study.series), study.config.ranker.target
    return {key: target.evaluate(labels[key]) for key in keys if labels[key].status == "ok"}
