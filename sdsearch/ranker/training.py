"""Training an ensemble of nets: the loop, and its ranking losses, batched over rows.

The soft rank of Blondel et al. (ICML 2020) is the L2 projection onto the permutahedron. It is
computed exactly, in float64, by isotonic regression: for short rows in its min-max form, O(rows
n^2) without a loop and on any device; for long ones by pooling adjacent violators, row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from scipy.optimize import isotonic_regression
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from sdsearch.design import PredictorKind
from sdsearch.model import FrozenModel
from sdsearch.ranker.net import PlanTensors, Ranker
from sdsearch.ranker.plan import plan_batch
from sdsearch.ranker.validation import NETS, Held, average_held_out

if TYPE_CHECKING:
    from sdsearch.ranker.features import FeatureLayout, SlotFeatures

Floats = npt.NDArray[np.float64]

CorrelationMode = Literal["spearman", "pearson"]

# Share of the label count used as the softness of a rank: on standardised values c = 3 gives 88 %
# of the elements a gradient and still correlates .995 with hard ranks.
SOFTNESS = 3.0

POOLING_FROM = 200
"""Rows of so many values are fitted by pooling, whose time and memory grow with n, not n^2."""


class RankerConfig(FrozenModel):
    """How to fit; `auto` is the GNN unless a baseline ranks held-out labels clearly better.

    Without `baselines` one net, which `kind` must then name, is fitted and measured alone.
    """

    kind: PredictorKind | Literal["auto"] = "auto"
    hops: int = Field(4, ge=1)
    width: int = Field(32, ge=1)
    # More steps fit noise: on planted truths with 10-15 % of it, 600 lose .05 of held-out SRCC.
    steps: int = Field(200, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    rank_weight: float = Field(1.0, ge=0)
    correlation: CorrelationMode = "spearman"
    folds: int = Field(5, ge=2)
    repeats: int = Field(2, ge=1)
    baselines: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.baselines and self.kind not in NETS:
            raise ValueError(
                f"without baselines, kind must be one of {', '.join(NETS)}, but is {self.kind!r}"
            )
        return self


@dataclass(frozen=True, slots=True)
class FittedNet:
    """A trained ensemble of nets; predictions are in units of the target."""

    layout: FeatureLayout
    ranker: Ranker
    centre: Tensor  # (members,) mean target of each member's training labels
    spread: Tensor  # (members,) their deviation

    @property
    def hops(self) -> int:
        """How many times messages are passed."""
        return len(self.ranker.layers)

    def predict(self, features: SlotFeatures) -> Floats:
        """Predicted target of architectures by each member: (architectures, members)."""
        with torch.inference_mode():
            plan = PlanTensors.of(plan_batch(features, self.hops))
            found: Tensor = self.ranker(plan)[0] * self.spread + self.centre
        return found.double().numpy()


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What an ensemble says of labels that it has not seen: predictions (n,), norms (n,) a hop."""

    predicted: Floats
    hops: tuple[Floats, ...]


def fit_net(
    layout: FeatureLayout,
    features: SlotFeatures,
    target: Floats,
    weight: Floats,
    held: Held,
    train: Tensor,
    config: RankerConfig,
    generator: torch.Generator,
) -> tuple[FittedNet, HeldOut]:
    """Train an ensemble whose members each leave out what `held` (members, n) says.

    Args:
        layout: what `features` are encoded by.
        features: of the n labelled architectures.
        target: (n,) higher is better.
        weight: (n,) how much each label counts.
        held: (members, n).
        train: the rows that members train on, as `training_rows` gives them.
        config: of the nets and their training.
        generator: draws the first weights.
    """
    ranker = Ranker(len(held), layout, config.hops, config.width, generator)
    plan = PlanTensors.of(plan_batch(features, config.hops))
    centre, spread = train_ensemble(
        ranker, plan, torch.from_numpy(target), train, config, torch.from_numpy(weight)
    )
    found = FittedNet(layout, ranker, centre, spread)
    return found, _out_of_fold(found, plan, train, held)


def training_rows(held: Held, rng: np.random.Generator) -> Tensor:
    """Indices of each member's training labels, (members, rows) int64.

    Folds differ by one label at most; the shorter rows repeat one label so that all are as long.
    """
    rows = [np.flatnonzero(~out) for out in held]
    longest = max(len(row) for row in rows)
    padded = [np.concatenate([row, rng.choice(row, longest - len(row))]) for row in rows]
    return torch.from_numpy(np.stack(padded).astype(np.int64))


def train_ensemble(
    ranker: Ranker,
    plan: PlanTensors,
    y: Tensor,
    train: Tensor,
    config: RankerConfig,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Train all members in place, full batch; returns each member's target mean and deviation.

    `y` and `weight` are (n,); the weight is of the squared error alone, ranks count all alike.
    """
    importance = torch.ones_like(train, dtype=torch.float32)
    if weight is not None:
        importance = weight[train].float()
        importance = importance / importance.mean(1, keepdim=True)
    rows = y[train]  # (members, rows)
    centre, spread = rows.mean(1), rows.std(1, correction=0)
    spread = torch.where(spread > 1e-12, spread, torch.ones_like(spread))
    target = (rows - centre[:, None]) / spread[:, None]
    goal = average_rank(target) if config.correlation == "spearman" else target
    correlation = soft_spearman if config.correlation == "spearman" else pearson
    target = target.float()
    goal = goal.float().repeat(config.hops + 1, 1)  # ((hops + 1) * members, rows)
    uses = torch.zeros(len(y), len(train))  # (n, members): how often each trains on a label
    uses.scatter_add_(0, train.T, torch.ones(train.T.shape))
    # Per hop (items, members): the share of an item among all slots that a member trains on
    weights = [count.T @ uses for count in plan.counts]
    weights = [weight / weight.sum(0) for weight in weights]
    optimizer = torch.optim.AdamW(
        ranker.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for _ in range(config.steps):
        predicted, norms = ranker(plan, weights)  # (n, members), (hops + 1, n, members)
        error = (importance * (predicted.T.gather(1, train) - target).square()).mean(1)
        index = train.expand(len(norms), -1, -1)  # (hops + 1, members, rows)
        rho = correlation(norms.transpose(1, 2).gather(2, index).flatten(0, 1), goal)
        # A sum over members: each trains exactly as it would alone.
        loss = error.sum() + config.rank_weight * (1.0 - rho).sum() / len(norms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        ranker(plan, weights)  # store the statistics of the final weights
    return centre.float(), spread.float()


def _out_of_fold(net: FittedNet, plan: PlanTensors, train: Tensor, held: Held) -> HeldOut:
    """Held-out predictions and, per hop, held-out norms made comparable over members."""
    with torch.no_grad():
        predicted, norms = net.ranker(plan)
        seen = norms.transpose(1, 2).gather(2, train.expand(len(norms), -1, -1))
        scale = seen.std(2, correction=0).clamp(min=1e-12)
        norms = (norms - seen.mean(2)[:, None]) / scale[:, None]
    guesses = (predicted * net.spread + net.centre).double().numpy().T
    hops = tuple(average_held_out(norm.double().numpy().T, held) for norm in norms)
    return HeldOut(average_held_out(guesses, held), hops)


def soft_rank(x: Tensor, eps: float) -> Tensor:
    """Ascending soft ranks (smallest -> about 1, largest -> about n) of each row of (rows, n).

    Rows always sum to n(n+1)/2. `eps -> 0` gives hard ranks; a large `eps` gives
    `(x - mean) / eps + (n + 1) / 2`. Differentiable once.
    """
    if x.ndim != 2:
        raise ValueError(f"soft_rank needs (rows, n), but got shape {tuple(x.shape)}")
    if eps <= 0:
        raise ValueError(f"eps must be positive, but got {eps}")
    result: Tensor = _SoftRank.apply(x, eps)  # type: ignore[no-untyped-call]
    return result


def average_rank(y: Tensor) -> Tensor:
    """Hard ascending ranks, ties averaged, of each row of (rows, n); no gradient."""
    y = y.detach()
    below = (y[:, None, :] < y[:, :, None]).sum(-1)
    equal = (y[:, None, :] == y[:, :, None]).sum(-1)
    return below.to(torch.float64) + (equal.to(torch.float64) + 1.0) / 2.0


def soft_spearman(norms: Tensor, target_rank: Tensor) -> Tensor:
    """Differentiable Spearman correlation of each row of `norms` (rows, n) -> (rows,).

    `target_rank` is `average_rank` of the target, (rows, n). Rows with fewer than three values
    or without spread have no order: they give 0 with zero gradient.
    """
    n = norms.shape[1]
    if n < 3:
        return norms.sum(1) * 0.0
    z, spread = _standardised(norms)
    rho = _cosine(target_rank.to(norms.dtype), soft_rank(z, SOFTNESS / n))
    return torch.where(spread < 1e-6, torch.zeros_like(rho), rho)


def pearson(norms: Tensor, target: Tensor) -> Tensor:
    """Pearson correlation of each row, (rows, n) -> (rows,); 0 where there is no order.

    This is what the published AutoBuild loss optimises in effect: its soft rank is so soft that
    it is an affine function of the norms, and its target is not ranked.
    """
    if norms.shape[1] < 3:
        return norms.sum(1) * 0.0
    z, spread = _standardised(norms)
    rho = _cosine(target.to(norms.dtype), z)
    return torch.where(spread < 1e-6, torch.zeros_like(rho), rho)


def _standardised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with mean 0 and deviation 1, and the deviations; finite gradients for constant rows."""
    centred = x - x.mean(1, keepdim=True)
    spread = (centred.square().mean(1, keepdim=True) + 1e-16).sqrt()
    return centred / (spread + 1e-6), spread[:, 0].detach()


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    a = a - a.mean(1, keepdim=True)
    b = b - b.mean(1, keepdim=True)
    scale = (a.square().sum(1) * b.square().sum(1) + 1e-16).sqrt()
    return (a * b).sum(1) / scale


class _SoftRank(Function):
    """Forward: isotonic regression of the sorted input. Backward: minus the block mean.

    With z = x / eps and w the hard ranks n..1, the projection of z onto the permutahedron of w is,
    in descending order of z, s - v where v is the non-increasing fit of s - w (Prop. 3).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        n = x.shape[1]
        # (rows, n) all of them, in descending order of x until the scatter at the end
        s, order = torch.sort(x.detach().double() / eps, dim=1, descending=True, stable=True)
        w = torch.arange(n, 0, -1, dtype=torch.float64, device=x.device)
        v = _isotonic(s - w)
        # A block is a run of pooled, hence equal, values of v; blocks are numbered from 0.
        tolerance = 1e-10 * (1.0 + s.abs().amax(1, keepdim=True))
        breaks = (v[:, :-1] - v[:, 1:]) > tolerance
        block = torch.zeros_like(order)
        block[:, 1:] = breaks.long().cumsum(1)
        ctx.save_for_backward(order, block)
        ctx.eps = eps
        return torch.empty_like(s).scatter_(1, order, s - v).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        order, block = ctx.saved_tensors
        g = grad.double().gather(1, order)
        # v is the mean of s - w over each block, so that ds - dv is what deviates from that mean.
        total = torch.zeros_like(g).scatter_add_(1, block, g)
        count = torch.zeros_like(g).scatter_add_(1, block, torch.ones_like(g))
        centred = g - (total / count.clamp(min=1.0)).gather(1, block)
        out = torch.empty_like(g).scatter_(1, order, centred / ctx.eps)
        return out.to(grad.dtype), None


def _isotonic(y: Tensor) -> Tensor:
    """Non-increasing least-squares fit of each row."""
    return _isotonic_min_max(y) if y.shape[1] < POOLING_FROM else _isotonic_pooling(y)


def _isotonic_pooling(y: Tensor) -> Tensor:
    fits = [isotonic_regression(row, increasing=False).x for row in y.cpu().numpy()]
    return torch.from_numpy(np.stack(fits)).to(y)


def _isotonic_min_max(y: Tensor) -> Tensor:
    """v_i = min_{j<=i} max_{k>=i} mean(y_j..y_k)."""
    n = y.shape[1]
    c = torch.nn.functional.pad(y.cumsum(1), (1, 0))  # (rows, n + 1): c_k is the sum before y_k
    at = torch.arange(n, device=y.device)
    length = at[None, :] - at[:, None] + 1  # (j, k), below 1 where the run is empty
    mean = (c[:, None, 1:] - c[:, :-1, None]) / length.clamp(min=1)  # (rows, j, k)
    mean = mean.masked_fill(length < 1, -torch.inf)
    highest = mean.flip(2).cummax(2).values.flip(2)  # (rows, j, i): max over k >= i
    return highest.masked_fill(at[:, None] > at[None, :], torch.inf).amin(1)
