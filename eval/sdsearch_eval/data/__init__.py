"""Samples: rendered scenes, the user's photos, masks and captions.

It imports single modules only. Start at `samples`.
"""

from sdsearch_eval.data.captions import Captions, read_captions
from sdsearch_eval.data.listing import Case, Manifest, require_mask
from sdsearch_eval.data.mask_files import MaskReading, read_mask
from sdsearch_eval.data.masks import draw_mask
from sdsearch_eval.data.photos import open_picture, square_image, take_picture
from sdsearch_eval.data.samples import (
    Dataset,
    Sample,
    choose_cases,
    list_photos,
    list_recovery_photos,
    load_dataset,
    load_recovery_samples,
    load_samples,
    manifest_sha256,
    read_dataset_captions,
    scene_sample,
    visit_dataset,
)
from sdsearch_eval.data.scenes import RENDERER_VERSION, render_scene, split_seed
from sdsearch_eval.data.tasks import list_images, read_tasks

__all__ = [
    "RENDERER_VERSION",
    "Captions",
    "Case",
    "Dataset",
    "Manifest",
    "MaskReading",
    "Sample",
    "choose_cases",
    "draw_mask",
    "list_images",
    "list_photos",
    "list_recovery_photos",
    "load_dataset",
    "load_recovery_samples",
    "load_samples",
    "manifest_sha256",
    "open_picture",
    "read_captions",
    "read_dataset_captions",
    "read_mask",
    "read_tasks",
    "render_scene",
    "require_mask",
    "scene_sample",
    "split_seed",
    "square_image",
    "take_picture",
    "visit_dataset",
]
