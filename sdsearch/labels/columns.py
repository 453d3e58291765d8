"""Columns: what a label will hold under a protocol, by name, before anything is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import InputError, nearest

if TYPE_CHECKING:
    from sdsearch.labels.protocol import Protocol
    from sdsearch.labels.target import Target

FEWEST_TO_EXTRAPOLATE = 5000
"""Samples from which on a Fréchet distance is extrapolated to infinitely many."""
_PIXEL = tuple(
    f"{metric}_{region}"
    for metric in ("psnr", "ssim", "l1")
    for region in ("hole", "full", "keep_raw")
)
_SEAM = ("seam", "seam_raw")
_ALWAYS = ("fd_vs_teacher", "latent_mse_vs_teacher", "nfe")
_COSTS = ("params", "macs", "macs_conv_linear", "latency_ms")


def label_columns(protocol: Protocol) -> frozenset[str]:
    """The columns of every finished label; docs/metrics.md says what they are.

    Labels have others too, by the size of holes, where their samples have holes of that size.
    """
    fills, has_pictures = not protocol.paints_words, not protocol.has_statistics
    optional = {
        protocol.column("fd_inf"): protocol.samples >= FEWEST_TO_EXTRAPOLATE and has_pictures,
        protocol.column("kid"): has_pictures,
        protocol.column("lpips_like"): fills,
        protocol.column("diversity"): protocol.variations > 1,
        "lpips_alex": protocol.lpips == "alex",
        "clip_score": protocol.clip_score != "none",
        "fp32_retry": protocol.dtype != "float32",
        **dict.fromkeys((*_PIXEL, *_SEAM), fills),
        **dict.fromkeys(protocol.scorers, True),
    }
    given = (name for name, is_given in optional.items() if is_given)
    return frozenset((protocol.column("fd"), *given, *_ALWAYS, *_COSTS))


def check_target(target: Target, protocol: Protocol) -> None:
    """Refuse a target over a column that labels of a protocol do not have.

    Raises:
        InputError: the column, where it is in the target, and the nearest one, are named.
    """
    known = label_columns(protocol)
    for name in target.columns:
        if name in known:
            continue
        hint = f"did you mean {nearest(name, known)!r}?"
        if name == protocol.column("fd_inf"):
            hint = (
                f"it is measured from {FEWEST_TO_EXTRAPOLATE:,} samples on, and protocol.samples "
                f"is {protocol.samples}"
            )
        raise InputError(
            f"the target must be over columns that labels of this protocol have, but {name!r} is "
            f"none; {hint}{target.point_at(name)}"
        )
