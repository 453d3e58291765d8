"""Protocol: the settings that may change the value of a label."""

from __future__ import annotations

from math import ceil
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from sdsearch.model import FrozenModel, KeyedModel

Scheduler = Literal["ddim", "pndm", "euler", "dpmsolver++", "unipc", "deis"]
"""Deterministic samplers of diffusers: nothing is drawn after the first noise."""
MaskKind = Literal["box", "thin", "medium", "thick", "object", "mixed"]
"""Masks that are drawn; any other name is a folder of mask files."""
MaskConvention = Literal["canonical", "diffusers", "lama", "mat", "repaint"]
"""How a file of a mask marks the hole: 255 and nothing between (canonical); 128 and more; anything
above 0; 0, the known pixels being 255 (MAT and RePaint)."""
MaskGeometry = Literal["photo", "cropped"]
"""What a mask file covers: its whole photo, or the centre square that is cropped from it."""
Crop = Literal["whole", "hole"]
"""What of a photo a UNet sees: its centre square, or a padded square around the hole alone."""
Task = Literal["inpaint", "text-to-image"]
"""What is asked of a UNet: to fill holes, or to paint pictures from words (the hole is all)."""
Precision = Literal["float32", "bfloat16", "float16"]
Optimizer = Literal["adamw", "adamw8bit"]


class RecoveryLosses(FrozenModel):
    """Weights of the losses: output distillation, noise (task) loss, feature distillation.

    Each loss is relative to the mean square of its target, so that weights compare.
    """

    output: float = Field(1.0, ge=0)
    task: float = Field(0.0, ge=0)
    feature: float = Field(0.0, ge=0)

    @property
    def ask_teacher(self) -> bool:
        """Whether a teacher has to answer; the noise is known without one."""
        return bool(self.output or self.feature)

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if not (self.output or self.task or self.feature):
            raise ValueError("one of the losses must have a weight above 0, but all are 0")
        return self


class RecoveryRecipe(KeyedModel):
    """The short seeded fine-tune that an inherited student gets before it is measured.

    Attributes:
        precision: what the student computes in; its weights, and the optimizer's, stay in float32
            (bfloat16 is torch's autocast).
        teacher_dtype: precision of the teacher whose answers are learned.
        optimizer: "adamw", or "adamw8bit" of bitsandbytes, whose two moments take a quarter.
    """

    later_fields: ClassVar = frozenset({"precision", "teacher_dtype", "optimizer"})

    steps: int = Field(30, ge=0)
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(16, ge=1)
    losses: RecoveryLosses = RecoveryLosses()
    precision: Literal["float32", "bfloat16"] = "float32"
    teacher_dtype: Precision = "float32"
    optimizer: Optimizer = "adamw"


Tracker = Literal[
    "none",
    "aim",
    "clearml",
    "comet_ml",
    "dvclive",
    "mlflow",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
]
"""Where the losses of a long recovery go besides its log, by accelerate's names."""


class LongRecovery(RecoveryRecipe):
    """The recovery of a design that will be exported, on all photos that are not evaluated on.

    A photo is seen in another way each epoch: cropped along its longer side and mirrored at random,
    under a new mask. Defaults are those of the tiny benchmark; `BK_SDM` is a published recipe.

    Attributes:
        ema: how much of the running mean of the weights a step keeps; 0: the last weights count.
        warmup: the share of the steps in which the learning rate rises.
        decay: whether it falls to 0 along a cosine after that, or stays.
        masks: the kind that is drawn; "protocol": that of the protocol, or its files, cropped
            centrally with their photos.
        crop: where a photo is cropped.
        flip: whether half of the photos are mirrored.
        caption_dropout: the share of pictures that are learned without their caption.
        whole_holes: the share of pictures whose mask is all of them, whatever is drawn.
        cache_latents: how many ways of seeing each photo are encoded beforehand, into one file, and
            taken in turn; 0: another one each epoch, encoded when it is learned.
        checkpoint_every: steps from one checkpoint to the next.
        picture_every: steps from one picture to the next.
        tracker: what else is told of the losses.
    """

    later_fields: ClassVar = RecoveryRecipe.later_fields | {"whole_holes"}

    steps: int = Field(1000, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    warmup: float = Field(0.1, ge=0, le=1)
    decay: Literal["cosine", "constant"] = "cosine"
    masks: Literal["protocol"] | MaskKind = "protocol"
    crop: Literal["random", "center"] = "random"
    flip: bool = True
    caption_dropout: float = Field(0.0, ge=0, le=1)
    whole_holes: float = Field(0.0, ge=0, le=1)
    cache_latents: int = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=1)
    picture_every: int = Field(250, ge=1)
    tracker: Tracker = "none"

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that may change the weights, as JSON data; others may change in a run."""
        watching = {"checkpoint_every", "picture_every", "tracker"}
        return self.model_dump(mode="json", exclude=watching)


BK_SDM = LongRecovery(
    steps=50_000,
    learning_rate=5e-5,
    batch_size=256,
    losses=RecoveryLosses(output=1.0, task=1.0, feature=1.0),
    warmup=0.0,
    decay="constant",
    ema=0.9999,
    checkpoint_every=500,
    picture_every=500,
)
"""BK-SDM's recipe for SD v1.4 (Kim et al., ECCV 2024), which was 60 epochs of 212,776 pictures."""


LEAST_FOR_LPIPS = 31
"""Pixels a side that an image must have for AlexNet to have features of it."""


class Protocol(KeyedModel):
    """How a label is measured; two labels compare only where it agrees, and the files it names.

    Under `task = "text-to-image"` every sample is one picture from a prompt. `prompts` are the
    "captions" of the dataset's photos, or a file: text with one prompt a line, or JSONL. Their
    pictures are compared, as a set, with `references`: those photos ("dataset"), another folder,
    or an `.npz` file with `mu` and `sigma` of features. `variations` pictures of each prompt are
    painted, `samples` in all, and with 2 or more of them their `diversity` is measured.
    `compared_size` is the side in pixels to which they, and the pictures that they are compared
    with, are resized before features and scores are taken; 0: they are compared as painted.

    The label seed is not part of it: a label is unique by (architecture, protocol, seed).
    Defaults are those of the tiny benchmark. `SAMPLERS` lists every option of a `scheduler`; its
    noise schedule is the teacher's. `extractor` is `efflite0`, `fid` (the official
    Inception weights), `inception:FILE` or `clip:FOLDER`; `clip_score` is the folder of a whole
    CLIP by which pictures are held against their captions, `scorers` are entry points of installed
    packages (`docs/metrics.md`). `mask_convention` says what a folder of
    masks means by its values, `mask_geometry` what its masks cover; under `crop = "hole"` a UNet
    sees the hole with `crop_padding` pixels of its photo around it (`docs/inpainting.md`). `lpips`
    adds the official LPIPS. `dtype` is the precision of the sampled UNet; `tf32` lets float32
    products of a GPU keep 10 bits of their factors; `compile` samples through torch.compile.
    `revision` is the harness's own: it is raised whenever a renderer, mask, sampling rule or metric
    changes a value.

    Nothing here is chosen by the device at hand, so that unlike workers share labels.
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

    `keep` is the share of architectures, the best by it, that are measured on the next rung.
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
