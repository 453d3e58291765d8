"""What the harness is asked for: one typed request for each of its commands.

A request is handed over as a JSON file; the harness parses it once, with the same types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from sdsearch.labels import MaskConvention, MaskGeometry, Protocol, Scheduler
from sdsearch.model import FrozenModel


class ServeRequest(FrozenModel):
    """Label architectures of a study at the call of a worker, under a seed, perhaps at a rung."""

    command: Literal["serve"] = "serve"
    study: Path
    seed: int = Field(ge=0)
    rung: int | None = None
    processes: int = Field(1, ge=1)


class ResolveRequest(FrozenModel):
    """Read the files that a study's protocol and its rungs name, and keep what they hold."""

    command: Literal["resolve"] = "resolve"
    study: Path


class InspectRequest(FrozenModel):
    """Read what labels of a protocol would read, print what it is, and draw a contact sheet.

    Attributes:
        protocol: which photos, masks, captions and extractor.
        teacher: "tiny", a folder or a hub id; None leaves teacher and extractor out.
        out: the contact sheet, .png.
    """

    command: Literal["inspect"] = "inspect"
    protocol: Protocol
    teacher: str | None = None
    out: Path


class AdoptRequest(FrozenModel):
    """Give labels that were measured under another name of the same content their name of today."""

    command: Literal["adopt"] = "adopt"
    study: Path


class RecomputeRequest(FrozenModel):
    """Compute the values of a study's labels again from their rows."""

    command: Literal["recompute"] = "recompute"
    study: Path


class RecoverRequest(FrozenModel):
    """Write the recovered weights of an architecture, as its label recovers it."""

    command: Literal["recover"] = "recover"
    study: Path
    arch_key: str


class FinetuneRequest(FrozenModel):
    """Recover an architecture by the study's long recipe."""

    command: Literal["finetune"] = "finetune"
    study: Path
    arch_key: str
    processes: int = Field(1, ge=1)


class GridRequest(FrozenModel):
    """Paint a study's samples with some architectures: column names to architecture keys."""

    command: Literal["grid"] = "grid"
    study: Path
    columns: dict[str, str] = Field(min_length=1)
    rows: int = Field(8, ge=1)


class InpaintRequest(FrozenModel):
    """Paint images with whole pipelines; `guidance` None is the first pipeline's usual one.

    Attributes:
        pipelines: "tiny", folders or hub ids.
        images: files or folders.
        masks: FILE, FOLDER, box:x,y,w,h or auto:KIND; one for all images, or one for each.
        prompts: one for all images, one for each, or none: then the images' captions.
        seeds: of the noise; a row each.
        mask_convention: what the values of mask files mean.
        mask_geometry: what mask files cover, the photo or the square cropped from it.
        differences: whether to show how each pipeline differs from the first.
        out: the picture, .png or .webp.
    """

    command: Literal["inpaint"] = "inpaint"
    pipelines: tuple[str, ...] = Field(min_length=1)
    images: tuple[Path, ...] = Field(min_length=1)
    masks: tuple[str, ...] = Field(min_length=1)
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    steps: int = Field(20, ge=1)
    guidance: float | None = Field(None, ge=0)
    scheduler: Scheduler = "ddim"
    mask_convention: MaskConvention = "diffusers"
    mask_geometry: MaskGeometry = "photo"
    differences: bool = False
    out: Path = Path("compare.png")


class ThumbnailsRequest(FrozenModel):
    """Draw what exported designs paint into their folders."""

    command: Literal["thumbnails"] = "thumbnails"
    study: Path
    designs: tuple[str, ...] = Field(min_length=1)


class LatencyRequest(FrozenModel):
    """Time the members that a latency survey asks for, in its file."""

    command: Literal["latency"] = "latency"
    survey: Path


class AppRequest(FrozenModel):
    """Serve the app of a study; `port` None is the first free one from 7860."""

    command: Literal["app"] = "app"
    study: Path
    host: str = "127.0.0.1"
    port: int | None = None


HarnessRequest = Annotated[
    ServeRequest
    | ResolveRequest
    | InspectRequest
    | AdoptRequest
    | RecomputeRequest
    | RecoverRequest
    | FinetuneRequest
    | GridRequest
    | InpaintRequest
    | ThumbnailsRequest
    | LatencyRequest
    | AppRequest,
    Field(discriminator="command"),
]
REQUEST: TypeAdapter[HarnessRequest] = TypeAdapter(HarnessRequest)
"""Reads a request of any command."""
