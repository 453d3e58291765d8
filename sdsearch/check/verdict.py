"""A verdict on whether something works with a UNet: what, why, and what says so."""

from __future__ import annotations

from typing import Literal

from sdsearch.model import FrozenModel


class Verdict(FrozenModel):
    """Whether something works with a UNet.

    Attributes:
        status: as it says.
        why: in one sentence.
        basis: the rule behind it, and where that was read, or the run.
    """

    status: Literal["works", "partly", "does not"]
    why: str
    basis: str
