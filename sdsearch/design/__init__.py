"""Scores of blocks and options, and the designs that methods build from them under a budget.

It imports `space` and `unet`. Start at `builder`; `scores` and `designs` are its values.
"""

from sdsearch.design.builder import build_designs, find_allowed
from sdsearch.design.designs import Design, DesignFile, Method
from sdsearch.design.evolution import TOURNAMENT
from sdsearch.design.proposals import propose_labels
from sdsearch.design.scores import (
    READ_RULES,
    BlockScore,
    FeatureScore,
    OptionScore,
    ReadRule,
    Rule,
    Scores,
    SpaceScores,
    UnitScores,
    read_scores,
)

__all__ = [
    "READ_RULES",
    "TOURNAMENT",
    "BlockScore",
    "Design",
    "DesignFile",
    "FeatureScore",
    "Method",
    "OptionScore",
    "ReadRule",
    "Rule",
    "Scores",
    "SpaceScores",
    "UnitScores",
    "build_designs",
    "find_allowed",
    "propose_labels",
    "read_scores",
]
