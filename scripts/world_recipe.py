"""What one training of a tiny Stable Diffusion is, as a small TOML file says it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from sdsearch.model import FrozenModel
from sdsearch.unet import TINY, Backbone

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = 64
Share = Annotated[float, Field(ge=0, le=1)]


class Recipe(FrozenModel):
    """One training: geometry, data, loss, length, seed.

    Attributes:
        name: that of the TOML file.
        channels: 9 to fill holes, 4 to paint from words alone.
        widths: channels of the UNet's levels 0 to 3.
        latent: latent cells along a side of 64 pixels; the autoencoder halves 64 until it is this.
        initial: how the UNet's residual branches begin: as diffusers draws them, or with zeros in
            the last layer of each, so that every block begins as the identity.
        text: the world whose text encoder's weights are begun with, or "random".
        vae: the world whose autoencoder is taken as it is, or "random": one is trained.
        scenes: rendered scenes that are learned from.
        photos: share of all pictures that are crops of photographs.
        tinted: whether every picture comes in a second colouring too, which no caption tells.
        full_holes: share of the holes that are the whole picture.
        offset: deviation of the smooth offset that half of the noise gets in the hole.
        keep_weight, edge_weight: of the loss outside of the hole, and beyond 1 at its edge.
        learning_rate: its peak, for UNet and text encoder.
    """

    name: str
    channels: Literal[4, 9] = 9
    widths: tuple[int, int, int, int] = TINY.block_out_channels
    latent: Literal[16, 32] = 16
    initial: Literal["diffusers", "zero"] = "diffusers"
    text: str = Field("random", pattern=r"^[a-z0-9-]+$")
    vae: str = Field("random", pattern=r"^[a-z0-9-]+$")
    scenes: int = Field(32_000, ge=1)
    photos: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tinted: bool = True
    full_holes: Share = 0.0
    offset: float = Field(0.5, ge=0)
    keep_weight: float = Field(0.25, gt=0)
    edge_weight: float = Field(3.0, ge=0)
    vae_steps: int = Field(4_000, ge=0)
    unet_steps: int = Field(20_000, ge=1)
    batch: int = Field(128, ge=1)
    learning_rate: float = Field(1.5e-3, gt=0)
    seed: int = Field(0, ge=0)

    @property
    def backbone(self) -> Backbone:
        """The tiny backbone with this recipe's widths and channels."""
        return TINY.model_copy(
            update={
                "block_out_channels": self.widths,
                "in_channels": self.channels,
                "sample_size": self.latent,
            }
        )

    @property
    def factor(self) -> int:
        """Pixels along a side of a latent cell."""
        return PIXELS // self.latent


def read_recipe(file: Path) -> Recipe:
    """The recipe that a TOML file holds.

    Raises:
        OSError, tomllib.TOMLDecodeError, pydantic.ValidationError: it holds none.
    """
    return Recipe(name=file.stem, **tomllib.loads(file.read_text(encoding="utf-8")))
