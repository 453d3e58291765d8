"""The predictor: feature scalars, four GATv2 layers with typed edges, and a head; as an ensemble.

All members of an ensemble are one module with a member axis, run over a `HopPlan`. Embeddings are
non-negative at every hop and pooled by the mean, so a graph's L1 norm is exactly the mean of its
slots' norms: that makes a slot's norm readable as its contribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sdsearch.ranker.features import EDGE_KINDS
from sdsearch.unet import SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.ranker.features import FeatureLayout
    from sdsearch.ranker.plan import HopPlan

_EPS = 1e-5  # of batch normalisation, as in torch
_SLOPE = 0.2  # of LeakyReLU, as in GATv2


@dataclass(frozen=True, slots=True)
class PlanTensors:
    """A `HopPlan` as tensors, with what pooling needs when the plan is a batch of graphs."""

    categorical: Tensor  # (items 0, 5) int64
    continuous: Tensor  # (items 0, 5 or 6) float32
    sources: tuple[Tensor, ...]  # per hop (items, 3) int64, voids point at item 0
    void: tuple[Tensor, ...]  # per hop (items, 3) bool
    counts: tuple[Tensor, ...]  # per hop (graphs, items) float32: slots of a graph using an item

    @classmethod
    def of(cls, plan: HopPlan, *, batch: bool = True) -> PlanTensors:
        """Convert; `batch=False` for a whole space, whose graphs are never listed one by one."""
        counts = tuple(
            _count(np.stack(items, axis=1), size) if batch else torch.empty(0)
            for items, size in zip(plan.items, plan.sizes, strict=True)
        )
        return cls(
            torch.from_numpy(plan.features.categorical),
            torch.from_numpy(plan.features.continuous),
            tuple(torch.from_numpy(source).clamp(min=0) for source in plan.sources),
            tuple(torch.from_numpy(source) < 0 for source in plan.sources),
            counts,
        )


def _count(items: np.ndarray, size: int) -> Tensor:
    counts = np.zeros((len(items), size), dtype=np.float32)
    np.add.at(counts, (np.arange(len(items))[:, None], items), 1.0)
    return torch.from_numpy(counts)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """Rows of `x` (items, members, width) by an index of any shape; a fast backward on CPU."""
    return functional.embedding(index, x.flatten(1)).reshape(*index.shape, *x.shape[1:])


def _draw(shape: Sequence[int], bound: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter((torch.rand(*shape, generator=generator) * 2.0 - 1.0) * bound)


class FeatureEmbedding(nn.Module):
    """Each feature category to one non-negative scalar: |table[id]| or |weight * value + bias|."""

    def __init__(
        self, members: int, sizes: Sequence[int], continuous: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.tables = nn.ParameterList([_draw((n, members), 1.0, generator) for n in sizes])
        self.weight = _draw((continuous, members), 1.0, generator)
        self.bias = _draw((continuous, members), 1.0, generator)

    def forward(self, categorical: Tensor, continuous: Tensor) -> Tensor:
        """(items, 5) ids and (items, c) floats -> (items, members, 5 + c)."""
        looked_up = [
            functional.embedding(categorical[:, i], table) for i, table in enumerate(self.tables)
        ]
        affine = continuous[:, :, None] * self.weight + self.bias  # (items, c, members)
        return torch.cat([torch.stack(looked_up, dim=1), affine], dim=1).transpose(1, 2).abs()


class AttentionLayer(nn.Module):
    """GATv2 (one head) over at most one main, one skip and one self edge per slot, then BN, ReLU.

    Equal to `torch_geometric.nn.GATv2Conv(..., edge_dim=3, add_self_loops=False)`.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, members: int, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        glorot = (6.0 / (inputs + width)) ** 0.5
        self.source = _draw((members, inputs, width), glorot, generator)
        self.source_bias = nn.Parameter(torch.zeros(members, width))
        self.target = _draw((members, inputs, width), glorot, generator)
        self.target_bias = nn.Parameter(torch.zeros(members, width))
        edge_bound = (6.0 / (len(EDGE_KINDS) + width)) ** 0.5
        self.edge = _draw((len(EDGE_KINDS), members, width), edge_bound, generator)
        self.attention = _draw((members, width), (6.0 / (1 + width)) ** 0.5, generator)
        self.bias = nn.Parameter(torch.zeros(members, width))
        self.scale = nn.Parameter(torch.ones(members, width))
        self.shift = nn.Parameter(torch.zeros(members, width))
        self.register_buffer("mean", torch.zeros(members, width))
        self.register_buffer("variance", torch.ones(members, width))

    def convolve(self, x: Tensor, sources: Tensor, void: Tensor) -> Tensor:
        """(items, members, inputs) of one hop -> (next items, members, width), before BN."""
        # u items, e members, c inputs, d width; every item is projected once, whoever reads it
        at_source = torch.einsum("uec,ecd->ued", x, self.source) + self.source_bias
        at_target = torch.einsum("uec,ecd->ued", x, self.target) + self.target_bias
        neighbours = gather(at_source, sources)  # (next, 3, members, width)
        own = gather(at_target, sources[:, 2])[:, None]  # (next, 1, members, width)
        hidden = functional.leaky_relu(neighbours + own + self.edge, _SLOPE)  # as neighbours
        # Products and sums, not einsum: its many tiny matrix products take twice as long.
        logits = (hidden * self.attention).sum(-1)  # (next, 3, members)
        alpha = logits.masked_fill(void[:, :, None], -torch.inf).softmax(dim=1)
        return (alpha[..., None] * neighbours).sum(1) + self.bias  # (next, members, width)

    def forward(self, x: Tensor, sources: Tensor, void: Tensor, weight: Tensor | None) -> Tensor:
        """One hop; `weight` (items, members) sums to 1 and gives batch statistics, None stored."""
        x = self.convolve(x, sources, void)  # (next, members, width)
        mean, variance = self.mean, self.variance  # (members, width)
        if weight is not None:
            # An item counts as often as the training graphs use it.
            mean = torch.einsum("ue,ued->ed", weight, x)
            variance = torch.einsum("ue,ued->ed", weight, (x - mean).square())
            # Full-batch training: the last statistics are those of the whole training set.
            self.mean, self.variance = mean.detach(), variance.detach()
        factor = self.scale * (variance + _EPS).rsqrt()  # (members, width)
        return functional.relu(x * factor + (self.shift - mean * factor))


class Head(nn.Module):
    """width -> width -> ReLU -> 1 on the pooled embedding of the last hop."""

    def __init__(self, members: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = width**-0.5
        self.hidden = _draw((members, width, width), bound, generator)
        self.hidden_bias = _draw((members, width), bound, generator)
        self.out = _draw((members, width), bound, generator)
        self.out_bias = _draw((members,), bound, generator)

    def project(self, pooled: Tensor) -> Tensor:
        """The linear part before the ReLU, without its bias; it distributes over sums."""
        return torch.einsum("gec,ecd->ged", pooled, self.hidden)

    def finish(self, projected: Tensor) -> Tensor:
        """(..., members, width) of `project` -> (..., members)."""
        hidden = functional.relu(projected + self.hidden_bias)
        return torch.einsum("...ed,ed->...e", hidden, self.out) + self.out_bias

    def forward(self, pooled: Tensor) -> Tensor:
        """(graphs, members, width) -> (graphs, members)."""
        return self.finish(self.project(pooled))


class Ranker(nn.Module):
    """An ensemble of predictors of the standardised target."""

    def __init__(
        self,
        members: int,
        layout: FeatureLayout,
        hops: int,
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.features = FeatureEmbedding(members, layout.sizes, len(layout.continuous), generator)
        inputs = [len(layout.columns)] + [width] * (hops - 1)
        self.layers = nn.ModuleList(
            [AttentionLayer(members, size, width, generator) for size in inputs]
        )
        self.head = Head(members, width, generator)

    def embed(self, plan: PlanTensors, weights: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Non-negative embeddings of the items of every hop: hops + 1 of (items, members, width).

        `weights` (per hop (items, members), summing to 1) asks for batch statistics and stores
        them; without it the stored ones are used.
        """
        found = [self.features(plan.categorical, plan.continuous)]
        for hop, (layer, sources, void) in enumerate(
            zip(self.layers, plan.sources, plan.void, strict=True)
        ):
            x = layer(found[-1], sources, void, None if weights is None else weights[hop + 1])
            found.append(x + gather(found[-1], sources[:, 2]) if hop > 0 else x)
        return found

    def forward(
        self, plan: PlanTensors, weights: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predictions (graphs, members) and graph norms (hops + 1, graphs, members)."""
        embedded = self.embed(plan, weights)
        last = embedded[-1]
        # Mean over a graph's slots: (graphs, items) @ (items, members * width).
        pooled = (plan.counts[-1] / len(SLOTS)) @ last.flatten(1)
        norms = [
            (count / len(SLOTS)) @ x.sum(-1) for count, x in zip(plan.counts, embedded, strict=True)
        ]
        return self.head(pooled.reshape(-1, *last.shape[1:])), torch.stack(norms)
