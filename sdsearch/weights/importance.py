"""Importance: which channels of the teacher a narrower student keeps."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch

from sdsearch.errors import InputError, check_choice
from sdsearch.unet import UNPRUNED
from sdsearch.weights.channels import STREAMS, ChannelChoice, channel_choices
from sdsearch.weights.provenance import trace_weights

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.unet import Architecture, Backbone

ChannelRule = Literal["l2", "leading"]


def choose_channels(
    arch: Architecture, backbone: Backbone, teacher: Mapping[str, Tensor], rule: ChannelRule = "l2"
) -> dict[str, NDArray[np.int64]]:
    """The teacher's channels that a member keeps, by choice, in the student's order.

    Choices that keep every channel are left out, so the result is empty for members of the
    backbone's widths. `rule` "l2" keeps the channels with the largest joint L2 norm over all
    teacher weights that write to or read from them; "leading" keeps the first ones. Both keep
    equally many of each norm group or head, and of each cell of a group its share, so the choice
    depends on the teacher and the widths alone and a narrower choice is part of a wider one.

    Raises:
        InputError: there is no such rule.
    """
    check_choice("the rule of channels", rule, get_args(ChannelRule))
    shrunk = [c for c in channel_choices(arch, backbone).values() if c.student < c.teacher]
    if rule == "leading":
        return {choice.name: best_channels(choice, np.zeros(choice.teacher)) for choice in shrunk}
    scores = l2_importance(backbone, teacher, {choice.pool for choice in shrunk})
    return {choice.name: best_channels(choice, scores[choice.pool]) for choice in shrunk}


def best_channels(choice: ChannelChoice, score: NDArray[np.float64]) -> NDArray[np.int64]:
    """The `student` best of a choice's channels by score (ties: the first), in ascending order.

    Each group gives equally many. Inside a group, cells take turns (at equal claims the better
    channel first) by the divisor method of Sainte-Lague: shares are proportional, exact where they
    are whole, and more channels never mean fewer of one cell.
    """
    channels = np.arange(choice.teacher)
    starts = np.array([*choice.cells, choice.teacher])
    cell = np.searchsorted(starts, channels, side="right") - 1  # (teacher,), as all that follow
    # Cells are ranges of channels: sorted by cell, then score, every place stays in its own cell.
    by_score = np.lexsort((channels, -score, cell))  # the last key counts first
    rank = np.empty(choice.teacher, np.int64)
    rank[by_score] = channels - starts[cell]  # in the channel's cell, 0 is the best
    turn = (rank + 0.5) / np.diff(starts)[cell]  # when the k-th of n channels is due: (k + 1/2) / n
    group = channels // (choice.teacher // choice.groups)
    # (groups, channels of a group), those due first in front
    in_turn = np.lexsort((channels, -score, turn, group)).reshape(choice.groups, -1)
    return np.sort(in_turn[:, : choice.student // choice.groups].reshape(-1))


def l2_importance(
    backbone: Backbone, teacher: Mapping[str, Tensor], pools: Set[str]
) -> dict[str, NDArray[np.float64]]:
    """The joint L2 norm of each channel of the given pools, over the teacher's weights.

    One tensor of `teacher` is held at a time. Biases and norms do not count.
    """
    whole = UNPRUNED
    choices = channel_choices(whole, backbone)
    squares = {pool: np.zeros(choices[pool].teacher) for pool in pools}
    for name, source in trace_weights(whole, backbone).items():
        pooled = [[choices[part].pool for part in axis] for axis in source.axes]
        if not name.endswith(".weight") or not any(p in pools for axis in pooled for p in axis):
            continue
        if name not in teacher:
            raise InputError(f"the teacher has no tensor {name!r}, whose channels are compared")
        tensor = teacher[name].float()  # kernels for 8 bits are few
        if tensor.dim() == 1:
            continue
        for dimension, axis in enumerate(pooled):
            # (channels of this dimension,), cut where another choice's channels are concatenated
            others = [d for d in range(tensor.dim()) if d != dimension]
            norm = torch.linalg.vector_norm(tensor, dim=others, dtype=torch.float32)
            found = norm.double().square().cpu().numpy()
            widths = [choices[part].teacher for part in source.axes[dimension]]
            if widths and sum(widths) != len(found):
                raise InputError(
                    f"dimension {dimension} of the teacher's {name!r} must have {sum(widths)} "
                    f"channels, but has {len(found)}; does the backbone describe this teacher?"
                )
            for pool, part in zip(axis, np.split(found, np.cumsum(widths)[:-1]), strict=False):
                if pool in pools:
                    squares[pool] += part
    return {pool: np.sqrt(total) for pool, total in squares.items()}


def check_channels(
    choices: Mapping[str, ChannelChoice], kept: Mapping[str, NDArray[np.int64]]
) -> None:
    """Refuse channels that a student cannot inherit in this order.

    Admissible are `student` distinct channels in which group g holds channels of the teacher's
    group g and, inside a group, cells follow in the teacher's order; the order inside a cell is
    free. Levels that the encoder joins by an identity in teacher and student alike need one order.
    With all channels kept, such orders leave the function of the net as it is.

    Raises:
        InputError: a choice is unknown, missing, or not admissible.
    """
    for name in kept.keys() - choices.keys():
        raise InputError(f"the member has no channel choice {name!r}")
    for name, choice in choices.items():
        channels = kept.get(name)
        if channels is None:
            if choice.student < choice.teacher:
                raise InputError(
                    f"{choice.student} channels of {name!r} must be chosen, but none are"
                )
            continue
        if len(channels) != choice.student or len(set(channels.tolist())) != choice.student:
            raise InputError(
                f"{choice.student} distinct channels of {name!r} must be chosen, but there are "
                f"{len(set(channels.tolist()))} of {len(channels)}"
            )
        if channels.min() < 0 or channels.max() >= choice.teacher:
            raise InputError(
                f"channels of {name!r} must be in [0, {choice.teacher}), but lie in "
                f"[{channels.min()}, {channels.max()}]"
            )
        groups = np.arange(choice.student) // (choice.student // choice.groups)
        cells = np.searchsorted(choice.cells, channels, side="right")
        own = channels // (choice.teacher // choice.groups)
        if (own != groups).any() or (np.diff(cells) < 0).any():
            raise InputError(
                f"the channels of {name!r} must keep to their {choice.groups} groups and the order "
                f"of their {len(choice.cells)} cells, but do not"
            )
    _check_joined(choices, kept)


def _check_joined(
    choices: Mapping[str, ChannelChoice], kept: Mapping[str, NDArray[np.int64]]
) -> None:
    for above, below in pairwise(choices[name] for name in STREAMS if name in choices):
        if below.pool != above.pool or below.student != above.student:
            continue
        first, second = (kept.get(c.name, np.arange(c.teacher)) for c in (above, below))
        if not np.array_equal(first, second):
            raise InputError(
                f"{above.name!r} and {below.name!r} must keep the same channels in one order, as "
                "an identity joins them, but differ"
            )
