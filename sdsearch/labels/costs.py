"""What running a pipeline costs: a UNet call, and a whole picture with all that is around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import read_json
from sdsearch.keys import believe
from sdsearch.labels.label import Latency
from sdsearch.model import FrozenModel

if TYPE_CHECKING:
    from pathlib import Path


class PictureCost(FrozenModel):
    """Seconds and memory of one picture, from its caption to its pixels, alone in its batch.

    The text encoder, every UNet call (both halves of guidance) and the autoencoder count. It
    encodes only where the UNet, or what is pasted back, has to see an image.

    Attributes:
        seconds: the median of `n` pictures.
        iqr: their interquartile range, in seconds.
        peak_bytes: the weights of the three networks, and the most memory that painting takes
            besides; None where that cannot be measured.
        dtype: precision of the UNet; the other networks compute in float32.
    """

    seconds: float
    iqr: float
    n: int
    peak_bytes: int | None
    device: str
    dtype: str
    threads: int
    resolution: int
    scheduler: str
    steps: int
    guidance: float

    @property
    def setting(self) -> str:
        """How it was measured, in words."""
        return (
            f"one picture of {self.resolution} px, {self.scheduler}, {self.steps} steps, guidance "
            f"{self.guidance:g}, UNet in {self.dtype}, {self.device}, {self.threads} threads"
        )


class PipelineCost(FrozenModel):
    """What a named pipeline costs; None is what was not measured."""

    name: str
    latency_ms: Latency | None = None
    picture: PictureCost | None = None

    @property
    def call_said(self) -> str:
        """Milliseconds of a UNet call in words, "-" where they are not known."""
        call = self.latency_ms
        return "-" if call is None else f"{call.median:.3g} ms (IQR {call.iqr:.2g})"

    @property
    def seconds_said(self) -> str:
        """Seconds of a whole picture in words, "-" where they are not known."""
        one = self.picture
        if one is None:
            return "-"
        return f"{one.seconds:.3g} s" + (f" (IQR {one.iqr:.2g})" if one.n > 1 else "")

    @property
    def memory_said(self) -> str:
        """Memory of a whole picture in words, "-" where it is not known."""
        peak = self.picture and self.picture.peak_bytes
        if not peak:
            return "-"
        return f"{peak / 1e9:.2f} GB" if peak >= 1e9 else f"{peak / 1e6:.0f} MB"


def read_costs(path: Path) -> tuple[PipelineCost, ...]:
    """The costs of the `columns` of a JSON file, such as the one beside a comparison.

    A file that is not there has none, and columns that were written earlier may lack values.

    Raises:
        InputError: it is no such file.
    """
    if not path.is_file():
        return ()
    try:
        columns = believe(read_json(path)).get("columns", ())
        return tuple(
            PipelineCost.model_validate(
                {name: column[name] for name in PipelineCost.model_fields if name in column}
            )
            for column in columns
        )
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path} must be JSON whose columns have a name and measured costs, but is not: "
            f"{error}; remove it, then measure again"
        ) from None


def describe_costs(costs: tuple[PipelineCost, ...]) -> list[str]:
    """A line for each pipeline, and one on how pictures were measured; nothing if none was."""
    measured = [cost.picture for cost in costs if cost.picture is not None]
    if not measured:
        return []
    lines = [
        f"{cost.name}: {cost.call_said} a UNet call, {cost.seconds_said} and {cost.memory_said} a "
        "whole picture"
        for cost in costs
    ]
    settings = dict.fromkeys(one.setting for one in measured)
    return [*lines, *(f"measured with {setting}" for setting in settings)]
