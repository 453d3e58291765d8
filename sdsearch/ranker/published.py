"""AutoBuild as published (Mills et al., CVPR 2024): isolated stages, last nodes, shifted norms.

Kept for comparison: what it is compared with is the default of this package. An architecture is the
chain of its kept operators; a stage is a half of a level, or the mid block. A stage of t operators
is scored alone, by the L1 norm of its last node after t - 1 hops, which sees exactly the stage;
moments of the hop and of the targets of architectures with a stage as deep make depths comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sdsearch.ranker.training import pearson
from sdsearch.unet import SLOTS, UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

    Floats = NDArray[np.float64]

STAGES = tuple(dict.fromkeys((s.half, s.level) for s in SLOTS if s.half not in ("in", "out")))
"""(half, level) of the nine stages in order of execution; the mid block is at level 3."""
OPERATORS = ("res", "attn", "down", "up")
LONGEST = 7
"""Operators of the longest stage, R A R A R A and the upsampler."""
HOPS = LONGEST - 1
EMBEDDINGS = (3, 3, 2)
"""Width of the embeddings of stage, position and operator, as published for six stages."""

Stage = tuple[int, tuple[int, ...]]
"""A stage's number and the numbers of its kept operators, in order."""


@dataclass(frozen=True, slots=True)
class PaperConfig:
    """Training as published (learning rate, decay, clipping), in steps of the full batch."""

    width: int = 32
    steps: int = 4400
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    clip: float = 5.0


def split_stages(arch: Architecture) -> tuple[Stage, ...]:
    """All nine stages of an architecture; those that keep nothing are empty."""
    kept = arch.kept_slots
    operators: list[list[int]] = [[] for _ in STAGES]
    for slot in SLOTS:
        stage = (slot.half, slot.level)
        if stage in STAGES and slot.name in kept:
            kind = {"enc": "down", "dec": "up"}[slot.half] if slot.kind == "sample" else slot.kind
            operators[STAGES.index(stage)].append(OPERATORS.index(kind))
    return tuple((number, tuple(found)) for number, found in enumerate(operators))


@dataclass(frozen=True, slots=True)
class Chains:
    """A batch of chains: (graphs, longest) stage, position and operator numbers, and a mask."""

    features: Tensor  # (3, graphs, longest) int64
    mask: Tensor  # (graphs, longest) bool

    @classmethod
    def of(cls, graphs: Sequence[Sequence[Stage]]) -> Chains:
        """Each graph is the chain of the operators of its stages, in order."""
        rows = [
            [(number, at, op) for number, ops in stages for at, op in enumerate(ops)]
            for stages in graphs
        ]
        longest = max(len(row) for row in rows)
        features = torch.zeros(3, len(rows), longest, dtype=torch.int64)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for number, row in enumerate(rows):
            features[:, number, : len(row)] = torch.tensor(row).T
            mask[number, : len(row)] = True
        return cls(features, mask)

    @property
    def lengths(self) -> Tensor:
        """(graphs,) operators of each chain."""
        return self.mask.sum(1)


class ChainAttention(nn.Module):
    """PyG's `GATv2Conv` (one head, self-loops) on a directed chain."""

    def __init__(self, inputs: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(inputs, width), nn.Linear(inputs, width)
        self.attention = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.zeros(width))
        with torch.no_grad():
            for weight in (self.source.weight, self.target.weight):
                weight.uniform_(-1, 1, generator=generator).mul_((6 / (inputs + width)) ** 0.5)
            for bias in (self.source.bias, self.target.bias):
                bias.zero_()
            self.attention.uniform_(-1, 1, generator=generator).mul_((6 / (1 + width)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(graphs, longest, inputs) -> (graphs, longest, width)."""
        own, wanted = self.source(x), self.target(x)  # (graphs, longest, width)
        before = functional.pad(own[:, :-1], (0, 0, 1, 0))  # shifted by one: the predecessor
        pairs = torch.stack([own, before])  # (2, graphs, longest, width)
        # (2, graphs, longest): how much each operator looks at itself and at its predecessor
        logits = functional.leaky_relu(pairs + wanted, 0.2) @ self.attention
        first = torch.zeros_like(logits, dtype=torch.bool)
        first[1, :, 0] = True  # nothing comes before the first
        alpha = logits.masked_fill(first, -torch.inf).softmax(0)
        return (alpha[..., None] * pairs).sum(0) + self.bias  # (graphs, longest, width)


class ChainRanker(nn.Module):
    """Feature scalars, GATv2 layers with batch norm, ReLU and residuals, mean pool, head."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = zip((len(STAGES), LONGEST, len(OPERATORS)), EMBEDDINGS, strict=True)
        self.encoders = nn.ModuleList(
            [nn.Sequential(nn.Embedding(n, d), nn.Linear(d, 1)) for n, d in sizes]
        )
        widths = [len(self.encoders)] + [width] * HOPS
        self.layers = nn.ModuleList([ChainAttention(a, b, generator) for a, b in pairwise(widths)])
        self.norms = nn.ModuleList([nn.BatchNorm1d(width) for _ in range(HOPS)])
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        with torch.no_grad():
            for module in [*self.encoders.modules(), *self.head.modules()]:
                if isinstance(module, nn.Embedding):
                    module.weight.normal_(generator=generator)
                elif isinstance(module, nn.Linear):
                    bound = module.in_features**-0.5
                    for parameter in module.parameters():
                        parameter.uniform_(-bound, bound, generator=generator)

    def embed(self, chains: Chains) -> list[Tensor]:
        """Non-negative embeddings of all hops, (graphs, longest, width), 0 beyond a chain's end."""
        mask = chains.mask[..., None]  # (graphs, longest, 1)
        # A scalar per feature, (graphs, longest, 1) each
        scalars = [encode(chains.features[number]) for number, encode in enumerate(self.encoders)]
        hops = [torch.cat(scalars, -1).abs() * mask]  # (graphs, longest, 3)
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            # (operators, width): batch statistics must not see the padding
            nodes = functional.relu(norm(layer(hops[-1])[chains.mask]))
            x = nodes.new_zeros(*chains.mask.shape, nodes.shape[-1])
            x = x.index_put((chains.mask,), nodes)  # (graphs, longest, width) again
            hops.append(x + hops[-1] if number else x)
        return hops

    def forward(self, chains: Chains) -> tuple[Tensor, Tensor]:
        """Predictions (graphs,) and graph norms (hops + 1, graphs)."""
        hops, lengths = self.embed(chains), chains.lengths
        norms = torch.stack([x.sum((1, 2)) / lengths for x in hops])  # L1, as nothing is negative
        return self.head(hops[-1].sum(1) / lengths[:, None])[:, 0], norms


@dataclass(frozen=True, slots=True)
class PaperFit:
    """A trained net with the moments that make the scores of stages comparable.

    `hop_moments` is (hops + 1, 2): mean and deviation of node norms. `target_moments` is (stages,
    LONGEST + 1, 2): mean and deviation of the target where a stage has so many operators.
    """

    net: ChainRanker
    hop_moments: Floats
    target_moments: Floats


def fit_paper(
    architectures: Sequence[Architecture],
    y: Floats,
    rng: np.random.Generator,
    config: PaperConfig | None = None,
) -> PaperFit:
    """Train on labels `y` (n,), higher is better, with the published loss.

    It is the squared error and, at every hop, 1 - Pearson's correlation of graph norms and targets.
    """
    config = config or PaperConfig()
    stages = [split_stages(arch) for arch in architectures]
    chains = Chains.of(stages)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    net = ChainRanker(config.width, generator)
    deviation = y.std() if y.std() > 1e-12 else 1.0
    target = torch.from_numpy((y - y.mean()) / deviation).float()
    goal = target.expand(HOPS + 1, -1)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    for _ in range(config.steps):
        predicted, norms = net(chains)
        loss = (predicted - target).square().mean() + (1.0 - pearson(norms, goal)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), config.clip)
        optimizer.step()
    net.eval()
    with torch.no_grad():
        nodes = [x.sum(-1)[chains.mask].double() for x in net.embed(chains)]
    moments = np.array([[float(x.mean()), float(x.std())] for x in nodes])
    depths = np.array([[len(ops) for _, ops in found] for found in stages])
    return PaperFit(net, moments, target_moments(depths, y))


def target_moments(depths: NDArray[np.int64], y: Floats) -> Floats:
    """(stages, LONGEST + 1, 2) mean and population deviation of `y` by stage and depth.

    `depths` is (n, stages). A cell that no architecture has gets the moments of all of them.
    """
    found = np.empty((depths.shape[1], LONGEST + 1, 2))
    found[:] = y.mean(), y.std()
    for stage, column in enumerate(depths.T):
        for depth in np.unique(column):
            cell = y[column == depth]
            found[stage, depth] = cell.mean(), cell.std()
    return found


def score_stages(fitted: PaperFit, stages: Sequence[Stage]) -> Floats:
    """(n,) shifted scores of isolated stages, in units of the target.

    mu + sigma (norm of the last node at hop t - 1, standardised over all nodes of that hop); a
    stage that keeps nothing has no node, and the mean target of those like it.
    """
    scores = np.array([fitted.target_moments[number, len(ops), 0] for number, ops in stages])
    filled = [at for at, (_, ops) in enumerate(stages) if ops]
    if not filled:
        return scores
    chains = Chains.of([[stages[at]] for at in filled])
    with torch.inference_mode():
        hops = torch.stack([x.sum(-1) for x in fitted.net.embed(chains)])  # (hops + 1, n, longest)
    last = chains.lengths - 1
    norms = hops[last, torch.arange(len(filled)), last].double().numpy()
    for at, hop, norm in zip(filled, last.tolist(), norms, strict=True):
        mean, deviation = fitted.hop_moments[hop]
        scale = fitted.target_moments[stages[at][0], hop + 1, 1]
        scores[at] += scale * (norm - mean) / (deviation if deviation > 1e-12 else 1.0)
    return scores


def score_options(fitted: PaperFit, space: SearchSpace) -> list[Floats]:
    """Per unit the score of each option: the sum of its stages, the other units unpruned."""
    found = []
    for axis, unit in enumerate(space.units):  # unit i decides about level i
        digits = np.tile(space.option_indices(UNPRUNED), (len(unit.options), 1))
        digits[:, axis] = np.arange(len(unit.options))
        members = [space.arch(int(index)) for index in space.indices(digits)]
        parts = [[s for s in split_stages(arch) if STAGES[s[0]][1] == axis] for arch in members]
        scores = score_stages(fitted, [stage for part in parts for stage in part])
        found.append(scores.reshape(len(members), -1).sum(1))
    return found
