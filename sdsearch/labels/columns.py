"""Columns: what a label will hold under a protocol, by name, before anything is measured."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from sdsearch.errors import InputError, suggest

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


class Meaning(NamedTuple):
    """What a column holds, in words, and which values are the better ones; None where neither."""

    words: str
    better: Literal["lower", "higher"] | None


_FEATURES = {"efflite0": "EfficientNet-Lite0", "inception": "Inception v3", "clip": "CLIP"}
_REGIONS = {
    "hole": "in the hole",
    "full": "over the whole image",
    "keep_raw": "outside the hole, as decoded",
    "below_10": "holes below 10 % of the image",
    "10_to_30": "holes of 10 to 30 % of the image",
    "above_30": "holes above 30 % of the image",
}
_MEANINGS = (
    ("fid", Meaning("official FID", "lower")),
    ("kid", Meaning("official KID", "lower")),
    ("fd_vs_teacher", Meaning("Fréchet distance to the teacher's pictures", "lower")),
    ("latent_mse_vs_teacher", Meaning("squared difference to the teacher's latents", "lower")),
    (
        "fd_inf_(?P<net>[^_]+)",
        Meaning("Fréchet distance for endless samples", "lower"),
    ),
    ("fd_(?P<net>[^_]+)", Meaning("Fréchet distance to the originals", "lower")),
    ("kid_(?P<net>[^_]+)", Meaning("kernel distance to the originals", "lower")),
    ("lpips_like_(?P<net>[^_]+)", Meaning("LPIPS without learned weights", "lower")),
    ("lpips_alex", Meaning("LPIPS 0.1", "lower")),
    ("psnr", Meaning("peak signal-to-noise ratio, dB", "higher")),
    ("ssim", Meaning("structural similarity", "higher")),
    ("l1", Meaning("absolute difference to the originals", "lower")),
    ("seam_raw", Meaning("misfit at the edge of the hole, as decoded", "lower")),
    ("seam", Meaning("misfit at the edge of the hole", "lower")),
    ("clip_score", Meaning("CLIP score of picture and caption", "higher")),
    ("diversity_(?P<net>[^_]+)", Meaning("difference of pictures of one prompt", "higher")),
    ("nfe", Meaning("evaluations of the UNet for a sample", None)),
    ("fp32_retry", Meaning("share painted again in float32", "lower")),
    ("params", Meaning("parameters of the UNet", "lower")),
    ("macs", Meaning("multiply-accumulates of a UNet call", "lower")),
    ("macs_conv_linear", Meaning("the same without attention", "lower")),
    ("latency_ms", Meaning("milliseconds of a UNet call", "lower")),
)
_REGION = "|".join(_REGIONS)
_PATTERNS = tuple(
    (re.compile(f"{name}(?:_(?P<first>{_REGION}))?(?:_(?P<second>{_REGION}))?"), meaning)
    for name, meaning in _MEANINGS
)


def describe_column(name: str) -> Meaning:
    """What a label's column holds, and whether lower or higher values are better.

    What has no such name is of a scorer, and a scorer's values say themselves which are better.

    >>> describe_column("lpips_like_efflite0_above_30").words
    'LPIPS without learned weights, features of EfficientNet-Lite0, holes above 30 % of the image'
    >>> describe_column("psnr_hole")
    Meaning(words='peak signal-to-noise ratio, dB, in the hole', better='higher')
    """
    for pattern, meaning in _PATTERNS:
        if found := pattern.fullmatch(name):
            said = found.groupdict()
            net, first, second = (said.get(one) for one in ("net", "first", "second"))
            words = [meaning.words]
            words += [f"features of {_FEATURES.get(net, net)}"] if net else []
            words += [_REGIONS[one] for one in (first, second) if one]
            return Meaning(", ".join(words), meaning.better)
    return Meaning("a scorer of an installed package", None)


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
        InputError: it is named, with its place in the target and the column that was meant, or all.
    """
    known = label_columns(protocol)
    for name in target.columns:
        if name in known:
            continue
        hint = suggest(name, known, f"they are {', '.join(sorted(known))}")
        if name == protocol.column("fd_inf"):
            hint = (
                f"; it is measured from {FEWEST_TO_EXTRAPOLATE:,} samples on, and protocol.samples "
                f"is {protocol.samples}"
            )
        raise InputError(
            f"the target must be over columns that labels of this protocol have, but {name!r} is "
            f"none{hint}{target.point_at(name)}"
        )
