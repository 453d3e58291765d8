"""How far painted pictures are from others: sets by their features, pairs by pixels, scores.

It imports `data` and `nets`. Start at `references`; `distances` and `pixels` are arithmetic alone.
"""

from sdsearch_eval.metrics.distances import (
    Gaussian,
    diversity,
    frechet_at_infinity,
    frechet_distance,
    frechet_to_gaussian,
    jackknife,
    kernel_distance,
    mean_of,
)
from sdsearch_eval.metrics.pixels import (
    compare_pixels,
    measure_seam,
    psnr_in,
    resize_images,
    runs_of_one_size,
)
from sdsearch_eval.metrics.references import (
    References,
    extract_pictures,
    extract_references,
    join_features,
    list_reference_files,
    make_references,
    measure_distances,
    name_references,
)
from sdsearch_eval.metrics.scores import Scores, hash_scorers, load_scores

__all__ = [
    "Gaussian",
    "References",
    "Scores",
    "compare_pixels",
    "diversity",
    "extract_pictures",
    "extract_references",
    "frechet_at_infinity",
    "frechet_distance",
    "frechet_to_gaussian",
    "hash_scorers",
    "jackknife",
    "join_features",
    "kernel_distance",
    "list_reference_files",
    "load_scores",
    "make_references",
    "mean_of",
    "measure_distances",
    "measure_seam",
    "name_references",
    "psnr_in",
    "resize_images",
    "runs_of_one_size",
]
