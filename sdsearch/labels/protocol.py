"""Protocol: the settings that may change the value of a label."""

from __future__ import annotations

from math import ceil
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from sdsearch.labels.choices import (
    Crop,
    MaskConvention,
    MaskGeometry,
    MaskKind,
    Precision,
    Scheduler,
    Task,
)
from sdsearch.labels.recovery import RecoveryRecipe
from sdsearch.model import FrozenModel, KeyedModel

LEAST_FOR_LPIPS = 31
"""Pixels a side that an image must have for AlexNet to have features of it."""


class Protocol(KeyedModel):
    """How a label is measured; two labels compare only where it agrees, and the files it names.

    The label seed is not part of it: a label is unique by (architecture, protocol, seed).
    Defaults are those of the tiny benchmark. Nothing here is chosen by the device at hand, so that
    unlike workers share labels.

    Attributes:
        revision: the harness's own; it rises when a renderer, mask, sampling rule or metric changes
            a value.
        dataset: "scenes", which are drawn, or a folder of photos. The first `samples` by name are
            evaluated; recovery learns from the others.
        unreadable: what happens when a photo cannot be read: "refuse" all, or "skip" it.
        masks: the kind of mask that is drawn, or a folder of mask files.
        resolution: pixels a side of what the UNet paints.
        samples: pictures that are painted and compared, in all.
        block_size: pictures that are painted at once; halved where memory runs out.
        scheduler: the sampler; its noise schedule is the teacher's.
        steps: steps of the sampler.
        guidance: scale of classifier-free guidance, which doubles the UNet calls; 1 or less: none.
        dtype: the precision of the sampled UNet.
        tf32: whether float32 products of a GPU keep only 10 bits of their factors.
        compile: whether pictures are sampled through torch.compile.
        extractor: whose features distances are taken on: "efflite0", "fid" (the official Inception
            weights), "inception:FILE" or "clip:FOLDER".
        feature_size: pixels a side of what EfficientNet-Lite0 sees.
        threads: CPU threads of each worker.
        recovery: the short fine-tuning before every measurement.
        mask_convention: which values of a mask file mean the hole.
        mask_geometry: what a mask file covers: its whole "photo", or the "cropped" centre square.
        lpips: whether the official LPIPS is measured too, on "alex".
        task: "inpaint", or "text-to-image": every sample is one picture from a prompt.
        prompts: for text-to-image: the "captions" of the photos, or a file with one prompt a line,
            or JSONL.
        references: for text-to-image: the pictures that paintings are compared with as a set:
            "dataset", another folder, or an `.npz` file with `mu` and `sigma` of features.
        variations: for text-to-image: pictures of each prompt; from 2 on their `diversity` is
            measured.
        compared_size: for text-to-image: pixels a side to which pictures are resized before they
            are compared; 0: they stay as painted.
        clip_score: the folder of a CLIP model that scores pictures against captions, or "none".
        scorers: entry points of installed packages that score pictures.
        crop: what a UNet sees of a photo: the centre square ("whole"), or a square around the
            "hole".
        crop_padding: pixels of the photo around the hole, under `crop = "hole"`.
    """

    later_fields: ClassVar = frozenset(
        {
            "mask_convention",
            "mask_geometry",
            "lpips",
            "tf32",
            "compile",
            "task",
            "prompts",
            "references",
            "variations",
            "compared_size",
            "clip_score",
            "scorers",
            "crop",
            "crop_padding",
        }
    )

    revision: Literal[2] = 2
    dataset: str = "scenes"
    unreadable: Literal["refuse", "skip"] = "refuse"
    masks: str = "mixed"
    resolution: int = Field(64, ge=8, multiple_of=8)
    samples: int = Field(192, ge=2)
    block_size: int = Field(32, ge=1)
    scheduler: Scheduler = "ddim"
    steps: int = Field(8, ge=1)
    guidance: float = Field(1.0, ge=0)
    dtype: Precision = "float32"
    tf32: bool = False
    compile: bool = False
    extractor: str = "efflite0"
    feature_size: int = Field(128, ge=32)
    threads: int = Field(2, ge=1)
    recovery: RecoveryRecipe = RecoveryRecipe()
    mask_convention: MaskConvention = "canonical"
    mask_geometry: MaskGeometry = "photo"
    lpips: Literal["none", "alex"] = "none"
    task: Task = "inpaint"
    prompts: str = "captions"
    references: str = "dataset"
    variations: int = Field(1, ge=1)
    compared_size: int = Field(0, ge=0)
    clip_score: str = "none"
    scorers: tuple[str, ...] = ()
    crop: Crop = "whole"
    crop_padding: int = Field(32, ge=8)

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        if len(set(self.scorers)) < len(self.scorers):
            raise ValueError(f"scorers must be named once each, but are {list(self.scorers)}")
        if self.task == "text-to-image":
            self._check_painting()
            self._refuse("task = 'inpaint'", "crop", "crop_padding")
            return self
        words = ("prompts", "references", "variations", "compared_size")
        self._refuse("task = 'text-to-image'", *words)
        if self.crop == "whole":
            self._refuse("crop = 'hole'", "crop_padding")
        if self.lpips != "none" and self.crop_padding < LEAST_FOR_LPIPS:
            raise ValueError(
                f"lpips sees nothing of images below {LEAST_FOR_LPIPS} pixels a side, which a crop "
                f"may be with crop_padding = {self.crop_padding}; pad more, or leave lpips out"
            )
        return self

    def _refuse(self, setting: str, *names: str) -> None:
        """Refuse fields that say something and only do so under another setting."""
        for name in names:
            if getattr(self, name) != type(self).model_fields[name].default:
                field = setting.partition(" ")[0]
                raise ValueError(f"{name} is for {setting}; leave it out, or set the {field}")

    def _check_painting(self) -> None:
        if self.samples % self.variations:
            raise ValueError(
                f"samples must be variations times a number of prompts, but {self.samples} is not "
                f"{self.variations} times one; change either"
            )
        if self.masks not in get_args(MaskKind):
            raise ValueError("text-to-image has no masks: the whole picture is painted")
        if self.lpips != "none":
            raise ValueError(
                "lpips compares a picture with its original, which painting from words has not"
            )

    @property
    def paints_words(self) -> bool:
        """Whether pictures are painted from words alone."""
        return self.task == "text-to-image"

    @property
    def pictures(self) -> int:
        """How many photos or prompts there are, each of which makes `variations` samples."""
        return self.samples // self.variations

    @property
    def held_out(self) -> int:
        """Photos of the dataset that are painted after or compared with; none is learned from."""
        uses = self.prompts == "captions" or self.references == "dataset"
        return self.pictures if uses else 0

    @property
    def compared_side(self) -> int:
        """Pixels a side of the pictures whose features and scores are taken."""
        return self.compared_size or self.resolution

    @property
    def has_statistics(self) -> bool:
        """Whether paintings are compared with statistics of a file, which has no pictures."""
        return self.references.lower().endswith(".npz")

    def column(self, metric: str) -> str:
        """The label column of a metric that needs the extractor: `fd_efflite0`, `kid_clip`.

        Only under the official Inception weights are `fd` and `kid` called `fid` and `kid`.
        """
        name = self.extractor.partition(":")[0]
        if name == "fid":
            return {"fd": "fid", "kid": "kid"}.get(metric, f"{metric}_inception")
        return f"{metric}_{name}"

    @property
    def fields_with_files(self) -> frozenset[str]:
        """The fields that point to the user's files, whose content names the labels in their place.

        The file of `fid:FILE` is none of them: it holds the official weights or is refused.
        """
        kind, _, path = self.extractor.partition(":")
        points = {
            "dataset": self.dataset != "scenes",
            "masks": self.masks not in get_args(MaskKind),
            "extractor": bool(path) and kind != "fid",
            "prompts": self.prompts != "captions",
            "references": self.references != "dataset",
            "clip_score": self.clip_score != "none",
        }
        return frozenset(name for name, to_files in points.items() if to_files)


class Rung(FrozenModel):
    """A cheaper measurement: shares of the samples and recovery steps of a protocol.

    Attributes:
        samples: the share of the protocol's samples.
        recovery: the share of its recovery steps.
        keep: the share of architectures, the best by this rung, that the next one measures.
    """

    samples: float = Field(0.25, gt=0, le=1)
    recovery: float = Field(0.2, gt=0, le=1)
    keep: float = Field(0.25, gt=0, lt=1)

    def cheapen(self, protocol: Protocol) -> Protocol:
        """The protocol of this rung; its labels are never mixed with those of another."""
        recipe = protocol.recovery
        steps = ceil(recipe.steps * self.recovery)
        prompts = ceil(max(2, protocol.samples * self.samples) / protocol.variations)
        return protocol.model_copy(
            update={
                "samples": prompts * protocol.variations,
                "recovery": recipe.model_copy(update={"steps": steps}),
            }
        )
