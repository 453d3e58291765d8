"""Outliers: labels far from all others are measured once more, and both values are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.labels import Label

FEWEST, FAR = 12, 8.0
"""Labels needed to speak of outliers, and how many robust deviations away they are."""


def find_outliers(labels: Sequence[Label], column: str) -> list[Label]:
    """The finished labels whose `column` lies over 8 robust deviations from the median.

    The deviation is 1.4826 times the median absolute one; too few labels have no outliers.
    """
    finished = [label for label in labels if label.status == "ok" and column in label.values]
    if len(finished) < FEWEST:
        return []
    values = np.log(np.maximum([label.scalar(column) for label in finished], 1e-12))
    distance = np.abs(values - np.median(values))
    scale = 1.4826 * max(float(np.median(distance)), 1e-6)
    return [label for label, far in zip(finished, distance > FAR * scale, strict=True) if far]
