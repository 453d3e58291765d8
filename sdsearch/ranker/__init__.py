"""The net that learns to rank from a few labels, its baselines, and scores of the whole space.

It imports `design`, `space`, `unet` and torch. Start at `fit`, then `scoring`.
"""

from sdsearch.ranker.baselines import fit_forest, fit_ridge
from sdsearch.ranker.features import CATEGORICAL, CONTINUOUS, FeatureLayout, to_data
from sdsearch.ranker.file import load_ranker, save_ranker
from sdsearch.ranker.fit import (
    FitReport,
    FittedRanker,
    LinearLearner,
    errors_of,
    fit_ranker,
    rank_by_probe,
)
from sdsearch.ranker.net import Ranker
from sdsearch.ranker.published import PaperConfig, fit_paper, score_options
from sdsearch.ranker.scoring import score_space, score_units
from sdsearch.ranker.training import FittedNet, RankerConfig, average_rank, soft_spearman
from sdsearch.ranker.validation import columns_of, fit_baselines

__all__ = [
    "CATEGORICAL",
    "CONTINUOUS",
    "FeatureLayout",
    "FitReport",
    "FittedNet",
    "FittedRanker",
    "LinearLearner",
    "PaperConfig",
    "Ranker",
    "RankerConfig",
    "average_rank",
    "columns_of",
    "errors_of",
    "fit_baselines",
    "fit_forest",
    "fit_paper",
    "fit_ranker",
    "fit_ridge",
    "load_ranker",
    "rank_by_probe",
    "save_ranker",
    "score_options",
    "score_space",
    "score_units",
    "soft_spearman",
    "to_data",
]
