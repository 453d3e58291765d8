"""The delete-a-block jackknife: a statistic of all rows but some, and the error that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdsearch.stats.intervals import Vector

BLOCKS = 8
"""Blocks that rows are cut into: few, since a Frechet distance is computed once for each."""


def leave_out_blocks(
    statistic: Callable[..., float], *samples: npt.NDArray[Any], blocks: int = BLOCKS
) -> Vector:
    """(g,) the statistic of paired samples without each of g blocks of consecutive rows.

    g is `blocks`, or as many as leave two rows to a block; blocks differ by a row at most. Fewer
    than four rows make no two blocks: (0,).

    >>> leave_out_blocks(lambda x: float(x.mean()), np.arange(8.0), blocks=2)
    array([5.5, 1.5])
    """
    n = len(samples[0])
    if n < 4:
        return np.empty(0)
    parts = np.array_split(np.arange(n), min(blocks, n // 2))
    return np.array(
        [statistic(*(np.delete(sample, part, axis=0) for sample in samples)) for part in parts]
    )


def jackknife_error(left: Vector) -> float:
    """The standard error of a statistic from its values without each of g >= 2 blocks.

    Root of (g - 1) / g sum (t_b - mean t)^2 (Efron & Tibshirani 1993, eq. 11.5, a block as a unit):
    right for smooth statistics of independent blocks. A bootstrap would not do: repeated rows bias
    a Frechet distance upward.
    """
    if len(left) < 2:
        raise ValueError(f"a jackknife needs at least two blocks, but got {len(left)}")
    return float(np.sqrt(np.square(left - left.mean()).sum() * (len(left) - 1) / len(left)))
