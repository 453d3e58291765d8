"""Feature nets that images are compared by, each with the hash of its weights.

They import single modules only. Start at `extractors`.
"""

from sdsearch_eval.nets.clip_score import ClipScore, clip_files
from sdsearch_eval.nets.extractors import extractor_weights, load_extractor
from sdsearch_eval.nets.features import (
    FEATURES_AT_ONCE,
    Extractor,
    Features,
    extract_features,
    lpips_like,
)
from sdsearch_eval.nets.lpips import Lpips, load_lpips, lpips_of

__all__ = [
    "FEATURES_AT_ONCE",
    "ClipScore",
    "Extractor",
    "Features",
    "Lpips",
    "clip_files",
    "extract_features",
    "extractor_weights",
    "load_extractor",
    "load_lpips",
    "lpips_like",
    "lpips_of",
]
