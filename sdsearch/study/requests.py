"""What the harness is asked for: one typed request for each of its commands.

A request is handed over as a JSON file; the harness parses it once, with the same types.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from sdsearch.endings import MORE_MEMORY
from sdsearch.labels import Crop, MaskConvention, MaskGeometry, Protocol, Scheduler
from sdsearch.model import FrozenModel
from sdsearch.unet import Architecture


class Request(FrozenModel):
    """Work for the harness; `stage` is what users call it."""

    stage: ClassVar[str]

    @property
    def lighter(self) -> str:
        """How the same work needs less memory."""
        return MORE_MEMORY


class StudyRequest(Request):
    """Work on a study."""

    study: Path

    @property
    def lighter(self) -> str:
        """How the same work needs less memory."""
        return f"see what it needs, and which settings need less: sdsearch plan {self.study}"


class ServeRequest(StudyRequest):
    """Label architectures of a study at the call of a worker, under a seed, perhaps at a rung."""

    stage: ClassVar = "label"
    command: Literal["serve"] = "serve"
    seed: int = Field(ge=0)
    rung: int | None = None
    processes: int = Field(1, ge=1)


class ResolveRequest(StudyRequest):
    """Read the files that a study's protocol and its rungs name, and keep what they hold."""

    stage: ClassVar = "reading the study's files"
    command: Literal["resolve"] = "resolve"


class InspectRequest(Request):
    """Read what labels of a protocol would read, print what it is, and draw a contact sheet.

    Attributes:
        protocol: which photos, masks, captions and extractor.
        teacher: "tiny", a folder or a hub id; None leaves teacher and extractor out.
        out: the contact sheet, .png.
    """

    stage: ClassVar = "check"
    command: Literal["inspect"] = "inspect"
    protocol: Protocol
    teacher: str | None = None
    out: Path


class AdoptRequest(StudyRequest):
    """Give labels that were measured under another name of the same content their name of today."""

    stage: ClassVar = "label"
    command: Literal["adopt"] = "adopt"


class RecomputeRequest(StudyRequest):
    """Compute the values of a study's labels again from their rows."""

    stage: ClassVar = "label"
    command: Literal["recompute"] = "recompute"


class RecoverRequest(StudyRequest):
    """Write the recovered weights of architectures, as their labels recover them."""

    stage: ClassVar = "export"
    command: Literal["recover"] = "recover"
    arch_keys: tuple[str, ...] = Field(min_length=1)


class FinetuneRequest(StudyRequest):
    """Recover an architecture by the study's long recipe."""

    stage: ClassVar = "recover"
    command: Literal["finetune"] = "finetune"
    arch_key: str
    processes: int = Field(1, ge=1)


class TuneRequest(StudyRequest):
    """Have a study's teacher, which paints from words, learn to inpaint."""

    stage: ClassVar = "tune"
    command: Literal["tune"] = "tune"
    processes: int = Field(1, ge=1)


Stage = Literal[
    "tune",
    "probe",
    "prepare",
    "label",
    "search",
    "measure",
    "remake",
    "compare",
    "export",
    "recover",
]
"""The parts of a study's work: a teacher that learns to inpaint; removals that a probe measures;
what all labels share; the labels of the sample; predictor, scores and designs; the labels of
designs; the weights of those whose labels were imported; the grid of pictures; exports; long
recoveries."""


class Task(FrozenModel):
    """Work that a study has before it: a stage, and the architectures it is done for.

    Those that are not known yet, as designs before they are built, are stood for by the largest
    that may come.
    """

    stage: Stage
    architectures: tuple[Architecture, ...]


class PlanRequest(StudyRequest):
    """Say what a study's tasks will take on this machine, into a JSON file."""

    stage: ClassVar = "plan"
    command: Literal["plan"] = "plan"
    tasks: tuple[Task, ...]
    out: Path


class GridRequest(StudyRequest):
    """Paint a study's samples with some architectures: column names to architecture keys."""

    stage: ClassVar = "compare"
    command: Literal["grid"] = "grid"
    columns: dict[str, str] = Field(min_length=1)
    rows: int = Field(8, ge=1)


class InpaintRequest(Request):
    """Paint with whole pipelines; `guidance` None is the first pipeline's usual one.

    Attributes:
        pipelines: "tiny", folders or hub ids.
        images: files or folders; none: the prompts alone are painted.
        masks: FILE, FOLDER, box:x,y,w,h or auto:KIND; one for all images, or one for each.
        prompts: one for all images, one for each, or none: then the images' captions.
        seeds: of the noise; a row each.
        mask_convention: what the values of mask files mean.
        mask_geometry: what mask files cover, the photo or the square cropped from it.
        crop: what of an image is painted, as in a protocol.
        crop_padding: pixels of the image around its hole, where that is cropped.
        differences: whether to show how each pipeline differs from the first.
        out: the picture, .png or .webp.
    """

    stage: ClassVar = "compare"
    command: Literal["inpaint"] = "inpaint"
    pipelines: tuple[str, ...] = Field(min_length=1)
    images: tuple[Path, ...] = ()
    masks: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    steps: int = Field(20, ge=1)
    guidance: float | None = Field(None, ge=0)
    scheduler: Scheduler = "ddim"
    mask_convention: MaskConvention = "diffusers"
    mask_geometry: MaskGeometry = "photo"
    crop: Crop = "whole"
    crop_padding: int = Field(32, ge=8)
    differences: bool = False
    out: Path = Path("compare.png")

    @model_validator(mode="after")
    def _has_something_to_paint(self) -> Self:
        if bool(self.images) != bool(self.masks):
            raise ValueError("images and masks need each other, but one of them is missing")
        if not self.images and not self.prompts:
            raise ValueError("images with masks, or prompts, are needed, but there are none")
        return self


class ThumbnailsRequest(StudyRequest):
    """Draw what exported designs paint, and measure what a picture costs, into their folders."""

    stage: ClassVar = "export"
    command: Literal["thumbnails"] = "thumbnails"
    designs: tuple[str, ...] = Field(min_length=1)


class RuntimesRequest(StudyRequest):
    """Make int8 of an export that has ONNX files, and measure its runtimes: its runtimes.json.

    Attributes:
        pipeline: the folder of the export.
    """

    stage: ClassVar = "export"
    command: Literal["runtimes"] = "runtimes"
    pipeline: Path


class ProbeRequest(StudyRequest):
    """Measure what a study's teacher loses with each removal, into the study's probe.json.

    Attributes:
        samples: recovery samples that are asked about at each timestep.
        timesteps: how many timesteps, spread evenly over those of the training.
    """

    stage: ClassVar = "probe"
    command: Literal["probe"] = "probe"
    samples: int = Field(8, ge=1)
    timesteps: int = Field(4, ge=1)

    def at_once(self, protocol: Protocol) -> int:
        """How many inputs a call of a net answers: a block, but at least all of one timestep."""
        return min(self.samples * self.timesteps, max(self.samples, protocol.block_size))


class LatencyRequest(Request):
    """Time the members that a latency survey asks for, in its file."""

    stage: ClassVar = "latency"
    command: Literal["latency"] = "latency"
    survey: Path


class AppRequest(StudyRequest):
    """Serve the app of a study; `port` None is the first free one from 7860."""

    stage: ClassVar = "app"
    command: Literal["app"] = "app"
    host: str = "127.0.0.1"
    port: int | None = None


HarnessRequest = Annotated[
    ServeRequest
    | ResolveRequest
    | InspectRequest
    | AdoptRequest
    | RecomputeRequest
    | PlanRequest
    | RecoverRequest
    | FinetuneRequest
    | TuneRequest
    | GridRequest
    | InpaintRequest
    | ThumbnailsRequest
    | RuntimesRequest
    | ProbeRequest
    | LatencyRequest
    | AppRequest,
    Field(discriminator="command"),
]
REQUEST: TypeAdapter[HarnessRequest] = TypeAdapter(HarnessRequest)
"""Reads a request of any command."""
