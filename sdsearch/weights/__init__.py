"""Which weights a student inherits: where every tensor comes from, and which channels it keeps.

It imports `unet`, and torch. Start at `provenance`, then `inherit`.
"""

from sdsearch.weights.feature_pairs import feature_pairs
from sdsearch.weights.importance import ChannelRule, choose_channels
from sdsearch.weights.inherit import inherit, load_unet, make_unet
from sdsearch.weights.provenance import provenance, provenance_document
from sdsearch.weights.tensorfile import TensorFile

__all__ = [
    "ChannelRule",
    "TensorFile",
    "choose_channels",
    "feature_pairs",
    "inherit",
    "load_unet",
    "make_unet",
    "provenance",
    "provenance_document",
]
