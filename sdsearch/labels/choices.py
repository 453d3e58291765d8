"""Choices: the words that settings of a protocol and of a recovery may have."""

from __future__ import annotations

from typing import Literal

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
