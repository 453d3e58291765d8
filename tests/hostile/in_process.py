"""A labeller that measures in this process, at once: what is tried is all that is around it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from tests.fakes import make_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.labels.label import Failure, Label, Series
    from sdsearch.unet.architecture import Architecture
    from sdsearch.workers.claims import Claim


class Desk:
    """Measures by a formula, and counts how often it was asked to finish."""

    def __init__(self, series: Series, archs: Mapping[str, Architecture]) -> None:
        self.series, self.archs, self.finished = series, archs, 0

    def label(self, arch_key: str, claim: Claim) -> Label:
        claim.begin()
        return self._label(arch_key)

    def fail(self, arch_key: str, failure: Failure) -> Label:
        return self._label(arch_key, failure)

    def _label(self, arch_key: str, failure: Failure | None = None) -> Label:
        key, seed = self.series.protocol_key, self.series.seed
        values = {} if failure else {"fd_efflite0": float(int(arch_key[:4], 16))}
        arch = self.archs[arch_key]
        return make_label(arch, protocol_key=key, seed=seed, failure=failure, **values)

    def tidy(self, arch_key: str) -> None:
        """There is nothing."""

    def pause(self, seconds: float) -> None:
        """Others need a moment."""
        time.sleep(0.02)

    def finish(self) -> None:
        self.finished += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to end."""
