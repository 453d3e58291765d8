"""Workspaces: what kernels take for themselves while they run, which no count of tensors sees.

Convolutions in TF32 or half precision take a few megabytes. In float32, cuDNN may transform images
and filters to frequencies, which needs far more than the net itself; it takes that only where it is
free, and computes in another way elsewhere. So this is an upper bound and never a need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sdsearch.weights import make_unet
from sdsearch_eval.counting.counts import META, unet_inputs

if TYPE_CHECKING:
    from sdsearch.unet import Architecture, Backbone

_COMPLEX = 8
"""Bytes of a complex number in float32."""


def bound_workspace(arch: Architecture, backbone: Backbone, images: int, latent: int) -> int:
    """Bytes that the greediest 3x3 convolution of a float32 UNet call may take on a GPU.

    By frequencies, each side padded to a power of two: all filters twice, as transformed and as
    the product wants them, and the images of both sides.
    """
    unet = make_unet(arch, backbone, META)
    found = [0]

    def see(conv: torch.nn.Module, given: tuple[torch.Tensor, ...], _: Any) -> None:
        assert isinstance(conv, torch.nn.Conv2d)
        side = 1 << (given[0].shape[-1] + conv.kernel_size[0] - 2).bit_length()
        values = 2 * conv.in_channels * conv.out_channels
        values += images * (conv.in_channels + conv.out_channels)
        found.append(_COMPLEX * side * (side // 2 + 1) * values)

    for module in unet.modules():
        if isinstance(module, torch.nn.Conv2d) and module.kernel_size[0] > 1:
            module.register_forward_hook(see)
    with torch.no_grad():
        unet(*unet_inputs(backbone, images, latent, torch.float32))
    return max(found)
