"""Samples: rendered scenes, the user's photos, masks and captions.

It imports single modules only. Start at `samples`.
"""

from sdsearch_eval.data.captions import Captions, read_captions
from sdsearch_eval.data.masks import check_mask, draw_mask
from sdsearch_eval.data.photos import square_image
from sdsearch_eval.data.samples import (
    Sample,
    SampleFiles,
    find_files,
    load_recovery_samples,
    load_samples,
    manifest_sha256,
    read_dataset_captions,
    skipped_images,
)
from sdsearch_eval.data.scenes import RENDERER_VERSION, render_scene, split_seed
from sdsearch_eval.data.tasks import read_tasks

__all__ = [
    "RENDERER_VERSION",
    "Captions",
    "Sample",
    "SampleFiles",
    "check_mask",
    "draw_mask",
    "find_files",
    "load_recovery_samples",
    "load_samples",
    "manifest_sha256",
    "read_captions",
    "read_dataset_captions",
    "read_tasks",
    "render_scene",
    "skipped_images",
    "split_seed",
    "square_image",
]
