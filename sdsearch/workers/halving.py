"""Successive halving: measure all cheaply, and only the best of each rung on the next, dearer one.

As in Jamieson & Talwalkar 2016, with rungs of fewer recovery steps and samples. A rung is whole
before the next begins, so that who goes on does not depend on which worker was faster. What is left
behind has labels of its rungs' protocols only: use it to find the best of many architectures, not
to get labels for a ranker, which needs bad ones too.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from sdsearch.errors import WorkError
from sdsearch.model import FrozenModel
from sdsearch.stats import spearman

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sdsearch.study.folder import StudyFolder


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
    left, before, reports = list(dict.fromkeys(keys)), dict[str, float](), []
    rungs = study.config.label.rungs
    for number in (*range(len(rungs)), None):
        at = study.at_rung(number)
        label(number, left)
        values = read_values(at, left)
        share = 1.0 if number is None else rungs[number].keep
        kept = keep_best(values, share)
        both = [key for key in values if key in before]
        reports.append(
            RungReport(
                protocol_key=at.config.protocol.key,
                samples=at.config.protocol.samples,
                recovery_steps=at.config.protocol.recovery.steps,
                measured=len(values),
                failed=len(left) - len(values),
                kept=len(kept),
                srcc=spearman([before[k] for k in both], [values[k] for k in both])
                if len(both) > 2
                else None,
            )
        )
        left, before = kept, values
    return reports


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
