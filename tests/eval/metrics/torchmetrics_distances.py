"""The two distances of distributions as torchmetrics computes them, on features that are given.

An independent second opinion. Its kernel distance is the unbiased estimator for independent sets,
not the one for paired samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torchmetrics import Metric

    Array = NDArray[np.float64]


class _Given(nn.Module):
    """An extractor whose images are the features themselves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features.reshape(len(features), -1)[:, : self.num_features].double()


def torchmetrics_frechet(first: Array, second: Array) -> float:
    """Frechet distance of (n, d) and (m, d) features by `FrechetInceptionDistance`."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    width = first.shape[1]
    metric = FrechetInceptionDistance(feature=_Given(width), input_img_size=(1, 1, width))
    return float(_fed(metric, first, second).compute())


def torchmetrics_kernel(first: Array, second: Array) -> float:
    """KID of (n, d) features by `KernelInceptionDistance`, one subset of all of them."""
    from torchmetrics.image.kid import KernelInceptionDistance

    metric = KernelInceptionDistance(
        feature=_Given(first.shape[1]), subsets=1, subset_size=min(len(first), len(second))
    )
    with torch.random.fork_rng(devices=[]):  # it shuffles by the global stream
        return float(_fed(metric, first, second).compute()[0])


def _fed(metric: Metric, first: Array, second: Array) -> Metric:
    metric.set_dtype(torch.float64)
    for features, real in ((first, True), (second, False)):
        metric.update(torch.from_numpy(features)[:, None, None], real=real)
    return metric
