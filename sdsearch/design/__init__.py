"""Scores of blocks and options, and the designs that methods build from them under a budget.

It imports `space` and `unet`. Start at `builder`; `scores` and `designs` are its values.
"""

from sdsearch.design.builder import build_designs, find_allowed
from sdsearch.design.designs import Design, DesignFile, Method
from sdsearch.design.evolution import TOURNAMENT
from sdsearch.design.near_front import draw_near_front, excess_errors
from sdsearch.design.probe import (
    LEAST_ERROR,
    Probe,
    Removal,
    log_errors,
    read_probe,
    score_by_probe,
)
from sdsearch.design.proposals import propose_labels
from sdsearch.design.scores import (
    CLEAR_SPREADS,
    NOT_TOLD,
    RANKER_SCHEMA,
    BlockScore,
    EmbeddingNorms,
    FeatureNorm,
    NormRule,
    OptionScore,
    PredictorKind,
    Rule,
    Scores,
    SpaceScores,
    UnitScores,
    plus_minus,
    read_scores,
)
from sdsearch.design.worth import FEWEST_TO_HALVE, LabelWorth, halve_labels

__all__ = [
    "CLEAR_SPREADS",
    "FEWEST_TO_HALVE",
    "LEAST_ERROR",
    "NOT_TOLD",
    "RANKER_SCHEMA",
    "TOURNAMENT",
    "BlockScore",
    "Design",
    "DesignFile",
    "EmbeddingNorms",
    "FeatureNorm",
    "LabelWorth",
    "Method",
    "NormRule",
    "OptionScore",
    "PredictorKind",
    "Probe",
    "Removal",
    "Rule",
    "Scores",
    "SpaceScores",
    "UnitScores",
    "build_designs",
    "draw_near_front",
    "excess_errors",
    "find_allowed",
    "halve_labels",
    "log_errors",
    "plus_minus",
    "propose_labels",
    "read_probe",
    "read_scores",
    "score_by_probe",
]
