"""Functions that need no study: an architecture and a backbone, as people say them, become values.

The rooms below take values alone; here words, names, folders and hub ids are read into them, once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch import drawing, space, unet
from sdsearch.errors import InputError
from sdsearch.pipelines import open_pipeline, read_part
from sdsearch.unet import Architecture, Backbone, check_teacher, find_backbone, read_unet_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    from sdsearch.drawing import Drawing
    from sdsearch.space import SearchSpace
    from sdsearch.unet import UNetCost
    from sdsearch.weights import ChannelRule


def unet_cost(
    architecture: Architecture | str,
    backbone: Backbone | Path | str,
    latent: int | tuple[int, int] | None = None,
    *,
    batch: int = 1,
    cfg: bool = False,
    tokens: int = unet.TEXT_TOKENS,
    value_bytes: int = 4,
) -> UNetCost:
    """What one UNet call costs: parameters, multiply-accumulates, memory of activations.

    Args:
        architecture: what is kept, or the words for it.
        backbone: the unpruned UNet's geometry, or what `find_backbone` knows it by.
        latent: (height, width), or the side of a square; default: the backbone's `sample_size`.
        batch: how many samples at once.
        cfg: whether classifier-free guidance doubles the batch.
        tokens: of the text.
        value_bytes: 4 for float32, 2 for half precision.

    >>> import sdsearch
    >>> sdsearch.unet_cost("bk-small", "sd14")
    UNetCost(482,346,884 parameters, 255.447 G MACs, 125.3 MiB of activations)

    Raises:
        InputError: words or name are unknown, or the architecture is wider than the backbone.
    """
    return unet.unet_cost(
        _architecture(architecture),
        _backbone(backbone),
        latent,
        batch=batch,
        cfg=cfg,
        tokens=tokens,
        value_bytes=value_bytes,
    )


def draw_unet(
    architecture: Architecture | str,
    backbone: Backbone | Path | str,
    scores: Mapping[str, float] | None = None,
    title: str | None = None,
) -> Drawing:
    """A standalone SVG document of an architecture; the same input gives the same bytes.

    Args:
        architecture: what is kept, or the words for it.
        backbone: the unpruned UNet's geometry, or what `find_backbone` knows it by.
        scores: by slot name; they colour the boxes from low to high. Without them the kind of a
            block gives its colour.
        title: any text; default: the key of the architecture.

    >>> import sdsearch
    >>> drawing = sdsearch.draw_unet("bk-small", "sd14")
    >>> drawing[:4], "482.35 M parameters" in drawing
    ('<svg', True)

    Raises:
        InputError: words or name are unknown, the architecture is wider than the backbone, or a
            score names a slot that does not exist, or is not finite.
    """
    return drawing.draw_unet(_architecture(architecture), _backbone(backbone), scores, title)


def search_space(
    name: str, backbone: Backbone | Path | str | None = None, *, resize_level_0: bool = False
) -> SearchSpace:
    """A search space: all architectures that it holds, by number.

    Args:
        name: "sd14", "sd14-blocks", "sd14-wide" or "tiny".
        backbone: the unpruned UNet's geometry, or what `find_backbone` knows it by; default: that
            of the tiny model for "tiny", else of SD v1.4.
        resize_level_0: gives level 0 of "sd14-wide" a choice of widths too.

    >>> import sdsearch
    >>> space = sdsearch.search_space("sd14")
    >>> space
    SearchSpace('sd14', 704,000 architectures)
    >>> small = sdsearch.Architecture.parse("bk-small")
    >>> small in space, space.arch(space.index(small)) == small
    (True, True)

    Raises:
        InputError: a name is unknown, or the space has no widths to choose.
    """
    own = None if backbone is None else _backbone(backbone)
    return space.search_space(name, own, resize_level_0=resize_level_0)


def inherit_unet(
    architecture: Architecture | str,
    teacher: UNet2DConditionModel | Path | str = "tiny",
    channels: ChannelRule = "l2",
) -> UNet2DConditionModel:
    """A stock `UNet2DConditionModel` of an architecture that starts from a teacher's weights.

    Put it into the teacher's pipeline, or train it: it needs no sdsearch any more.

    Args:
        architecture: what is kept, or the words for it.
        teacher: "tiny", a pipeline folder or a hub id; or an unpruned UNet in memory, such as
            `pipeline.unet`.
        channels: by which rule narrower levels choose the channels that they keep.

    Returns:
        The UNet in float32 on the CPU, in evaluation mode.

    >>> import sdsearch
    >>> unet = sdsearch.inherit_unet("bk-small; level 0: attention up 01", "tiny")
    >>> unet.num_parameters()
    1897028

    Raises:
        InputError: the words or the rule are unknown; the teacher cannot be read, is distilled, or
            is no unpruned UNet of the SD v1 and v2 family.
    """
    from sdsearch.weights import inherit_weights, open_unet_weights

    arch = _architecture(architecture)
    if isinstance(teacher, (str, Path)):
        check_teacher(str(teacher))
        part = read_part(open_pipeline(str(teacher), ("unet",)), "unet")
        backbone = Backbone.from_config(read_unet_config(part.folder / "config.json"))
        return inherit_weights(arch, backbone, open_unet_weights(part), channels)
    if not hasattr(teacher, "state_dict"):
        raise InputError(
            "a teacher must have weights: 'tiny', a folder, a hub id or a UNet such as "
            f"pipeline.unet; but got a value of type {type(teacher).__name__}"
        )
    return inherit_weights(
        arch, Backbone.from_config(teacher.config), teacher.state_dict(), channels
    )


def _architecture(said: Architecture | str) -> Architecture:
    return said if isinstance(said, Architecture) else Architecture.parse(said)


def _backbone(said: Backbone | Path | str) -> Backbone:
    return said if isinstance(said, Backbone) else find_backbone(said)
