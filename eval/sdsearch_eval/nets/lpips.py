"""Official LPIPS (Zhang et al., CVPR 2018; version 0.1, AlexNet) from weights that are there.

The learned layer weights come with torchmetrics; the AlexNet trunk is torchvision's file, read from
where torch keeps downloads. Nothing is downloaded, and torchvision itself is not needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torchmetrics
from torch import Tensor, nn

from sdsearch.errors import InputError
from sdsearch.keys import file_sha256

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRUNK_FILE = "alexnet-owt-7be5be79.pth"
TRUNK_SHA256 = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
LINEAR_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
TAPS = (1, 4, 7, 9, 11)
"""The ReLUs of AlexNet whose outputs are compared."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """LPIPS, frozen: weighted squared distances of unit-normalised AlexNet features."""

    def __init__(self, trunk: dict[str, Tensor], linear: dict[str, Tensor]) -> None:
        super().__init__()
        self.features = _alexnet_features()
        names = self.features.state_dict()
        self.features.load_state_dict({name: trunk[f"features.{name}"] for name in names})
        self.weights = nn.ParameterList(linear[f"lin{i}.model.1.weight"] for i in range(len(TAPS)))
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.tensor(SHIFT).view(3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(3, 1, 1))
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(N,) distances of (N, 3, H, W) RGB images in [-1, 1]."""
        pairs = zip(self._maps(first), self._maps(second), self.weights, strict=True)
        layers = [((a - b).square() * weight).sum(1).mean((1, 2)) for a, b, weight in pairs]
        return torch.stack(layers).sum(0)

    def _maps(self, images: Tensor) -> list[Tensor]:
        x, maps = (images - self.shift) / self.scale, []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in TAPS:
                maps.append(x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return maps


def _alexnet_features() -> nn.Sequential:
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )


def trunk_weights() -> Path:
    """Where torch keeps the AlexNet that torchvision downloads."""
    return Path(torch.hub.get_dir()) / "checkpoints" / TRUNK_FILE


def linear_weights() -> Path:
    """The learned layer weights in the installed torchmetrics."""
    root = Path(torchmetrics.__file__).parent
    return root / "functional" / "image" / "lpips_models" / "alex.pth"


def load_lpips() -> Lpips:
    """The official net, both weight files checked.

    Raises:
        InputError: a file is missing or is not the expected one.
    """
    states = []
    for path, expected in ((trunk_weights(), TRUNK_SHA256), (linear_weights(), LINEAR_SHA256)):
        if not path.is_file():
            raise InputError(
                f"protocol.lpips = 'alex' needs {path}, but it is missing; copy it there (nothing "
                "is downloaded) or leave protocol.lpips out"
            )
        if (sha256 := file_sha256(path)) != expected:
            raise InputError(
                f"{path} must have SHA-256 {expected}, but has {sha256}; copy it again"
            )
        states.append(torch.load(path, map_location="cpu", weights_only=True))
    return Lpips(*states).eval()


def lpips_of(net: Lpips, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Tensor:
    """(n,) float64 LPIPS of (n, H, W, 3) uint8 images at their own size, on the CPU."""
    device = net.shift.device
    a, b = (
        torch.from_numpy(x).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        for x in (first, second)
    )
    found: Tensor = net(a, b)
    return found.cpu().double()
