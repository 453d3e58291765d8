"""Samples: rendered scenes, the user's photos, masks and captions.

It imports `scenes` and single modules. Start at `samples`.
"""

from sdsearch_eval.data.captions import Captions, read_captions
from sdsearch_eval.data.cases import list_photos, read_dataset_captions
from sdsearch_eval.data.listing import Case, Manifest, require_mask
from sdsearch_eval.data.mask_files import MaskReading, read_mask
from sdsearch_eval.data.masks import draw_mask
from sdsearch_eval.data.metadata import read_prompts
from sdsearch_eval.data.photos import (
    check_size,
    known_formats,
    open_picture,
    square_image,
    take_picture,
)
from sdsearch_eval.data.sample import (
    Cutout,
    Frame,
    Sample,
    choose_prompts,
    paint_prompts,
    whole_hole,
)
from sdsearch_eval.data.samples import (
    Dataset,
    choose_cases,
    list_recovery_photos,
    load_dataset,
    load_recovery_samples,
    load_reference_samples,
    load_samples,
    manifest_sha256,
    scene_sample,
    visit_dataset,
)
from sdsearch_eval.data.tasks import list_images, read_tasks

__all__ = [
    "Captions",
    "Case",
    "Cutout",
    "Dataset",
    "Frame",
    "Manifest",
    "MaskReading",
    "Sample",
    "check_size",
    "choose_cases",
    "choose_prompts",
    "draw_mask",
    "known_formats",
    "list_images",
    "list_photos",
    "list_recovery_photos",
    "load_dataset",
    "load_recovery_samples",
    "load_reference_samples",
    "load_samples",
    "manifest_sha256",
    "open_picture",
    "paint_prompts",
    "read_captions",
    "read_dataset_captions",
    "read_mask",
    "read_prompts",
    "read_tasks",
    "require_mask",
    "scene_sample",
    "square_image",
    "take_picture",
    "visit_dataset",
    "whole_hole",
]
