"""What a new study says before its owner does: a commented study.toml for each size of teacher.

The values of a template are its recipe. Which one holds, and at what resolution, is decided by the
teacher's own configs, never by the device at hand.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sdsearch.labels import Protocol
from sdsearch.unet import check_teacher, is_full_size, teacher_resolution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.study.config import StudyConfig

SMALL = """\
# One search. Everything has a default; unknown keys are errors. Every run re-reads this file.
[teacher]
pipeline = "tiny"            # "tiny" | a local diffusers folder | a .safetensors file | a hub id

[space]
name = "tiny"                # "tiny" | "sd14" | "sd14-blocks" | "sd14-wide"
labels = 68                  # members to measure before learning
strategy = "uniform"         # "uniform" | "stratified": every option | "probe": near the front
seed = 0

[protocol]                   # all that may change a measured value; changing it starts new labels
dataset = "scenes"
masks = "thick"              # "box" | "thin" | "medium" | "thick" | "object" | "mixed"
samples = 96                 # the error of fd goes down with it, the bill goes up
guidance = 2.0
threads = 1                  # of a CPU, for each who measures
seed = 0                     # of the labels: noise and recovery

[label]                      # who measures; changes no value
executor = "local"           # "local": here, and wherever else it is started | "ray"
time_limit = 7200            # seconds that one label may take

[ranker]
kind = "auto"
target = "-log(fd_efflite0)" # over label columns; higher is better

[build]
methods = "auto"             # two that learn, and one-shot, most-macs, random; or a list of names
top = 4                      # designs of each method
budget = {}                  # such as { params = { share = 0.60 } }; a bare number is absolute
"""
"""For the tiny teacher: that of its benchmark (docs/worlds.md)."""

FULL = """\
# One search on a Stable Diffusion of full size; what it costs is in docs/guide-sd14.md. Keys that
# are not here have defaults; unknown keys are errors. Every run re-reads this file.
[teacher]
pipeline = "..."             # a local diffusers folder | a .safetensors file | a hub id

[space]
name = "sd14"                # "sd14" | "sd14-blocks" | "sd14-wide"
labels = 68                  # members to measure before learning
strategy = "stratified"      # every option of every level appears | "uniform" | "probe"
seed = 0

[protocol]                   # all that may change a measured value; changing it starts new labels
dataset = "..."              # a folder of photos; recovery sees those beyond the samples
masks = "mixed"              # "box" | "thin" | "medium" | "thick" | "object" | "mixed" | a folder
resolution = 512             # pixels a side; best the teacher's own
samples = 256                # the error of fd goes down with it, the bill goes up
block_size = 8               # samples at once; halved where memory runs out
steps = 20
guidance = 7.5
dtype = "float16"            # of the sampled UNet: "float32" | "bfloat16" | "float16"
tf32 = true                  # float32 products of a GPU keep 10 bits of their factors
feature_size = 224           # pixels a side of what EfficientNet sees: the size of its training
seed = 0                     # of the labels: noise and recovery

[protocol.recovery]          # the short one, of every label
steps = 300
batch_size = 8
learning_rate = 1e-5         # BK-SDM's 5e-5 at 256, by the root of the batch
precision = "bfloat16"       # in which the student computes; its weights stay in float32
teacher_dtype = "float16"    # of the teacher that it learns from

[label]                      # who measures; changes no value
executor = "local"           # "local": here, and wherever else it is started | "ray"
time_limit = 7200            # seconds that one label may take

[ranker]
kind = "auto"
target = "-log(fd_efflite0)" # over label columns; higher is better

[build]
methods = "auto"             # two that learn, and one-shot, most-macs, random; or a list of names
top = 4                      # designs of each method
budget = {}                  # such as { params = { share = 0.60 } }; a bare number is absolute
loads_in = []                # such as ["comfyui"]: only what also loads there; docs/single-file.md

[export.recovery]            # the long one, of a design: rate, batch and losses are BK-SDM's
steps = 20000                # BK-SDM took 50,000: 60 hours on one A100
batch_size = 64
learning_rate = 5e-5
losses = { output = 1.0, task = 1.0, feature = 1.0 }
precision = "bfloat16"
teacher_dtype = "float16"
checkpoint_every = 500
picture_every = 1000
"""
"""For teachers of full size: what users of Stable Diffusion sample with, and published training."""


_INPAINT = """
inpaint = true               # it paints from words, and learns to inpaint first: sdsearch tune

[teacher.tuning]             # how: on the noise of photos under fresh masks; once, before labels
"""

SMALL_TUNING = (
    _INPAINT
    + """\
steps = 2000
batch_size = 16
learning_rate = 3e-4
whole_holes = 0.25           # share of holes that are the whole picture
caption_dropout = 0.1        # share of captions that are left out, for guidance"""
)
"""What [teacher] says besides where a tiny one is to learn to inpaint: the defaults."""

FULL_TUNING = (
    _INPAINT
    + """\
steps = 20000                # Stable Diffusion's own inpainting model took 440,000
batch_size = 64
learning_rate = 1e-5
warmup = 0.05
decay = "constant"
ema = 0.9999
whole_holes = 0.25           # share of holes that are the whole picture
caption_dropout = 0.1        # share of captions that are left out, for guidance
precision = "bfloat16"       # of its products; its weights stay in float32
checkpoint_every = 500
picture_every = 1000"""
)
"""The same for one of full size: masks and dropout are those of Stable Diffusion's own."""

WORDS: Mapping[str, Any] = MappingProxyType({"export": {"recovery": {"caption_dropout": 0.1}}})
"""What a study of painting from words says besides: guidance asks a UNet without words too."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a study of one teacher says where nothing else is said.

    Attributes:
        template: the commented study.toml that is filled in.
        values: by section and key.
        needs_photos: whether the scenes of the tiny model say nothing about this teacher.
    """

    template: str
    values: Mapping[str, Any]
    needs_photos: bool


def find_recipe(teacher: str, *, inpaint: bool = False) -> Recipe:
    """The recipe for a teacher: "tiny", a folder or a hub id, of which three configs are read.

    With `inpaint` it is a teacher that has to learn that first.

    Raises:
        InputError: the configs cannot be had, are of another family or of a distilled model.
    """
    check_teacher(teacher)
    resolution, is_full = teacher_resolution(teacher), is_full_size(teacher)
    template, tuning = (FULL, FULL_TUNING) if is_full else (SMALL, SMALL_TUNING)
    text = _add_tuning(template, tuning) if inpaint else template
    values = tomllib.loads(text)
    if is_full or resolution != Protocol().resolution:
        values["protocol"]["resolution"] = resolution
    return Recipe(text, values, needs_photos=is_full)


def _add_tuning(template: str, tuning: str) -> str:
    """A template with more at the end of its section [teacher], which comes first."""
    head, blank, rest = template.partition("\n\n")
    return head + tuning + blank + rest


def warn_of_resolution(config: StudyConfig) -> str | None:
    """What is to be said where a study paints at another size than its teacher was trained at.

    Raises:
        InputError: the teacher's configs cannot be had.
    """
    asked, native = config.protocol.resolution, teacher_resolution(config.teacher.pipeline)
    if asked == native:
        return None
    return (
        f"warning: resolution in [protocol] is {asked}, but the teacher was trained at {native}; "
        "away from it Stable Diffusion repeats or crops what it paints"
    )
