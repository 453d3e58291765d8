"""Which weights a student inherits: where every tensor comes from, and which channels it keeps.

It imports `unet`, and torch. Start at `trace_weights`, then `inherit_weights`.
"""

from sdsearch.weights.feature_pairs import pair_features
from sdsearch.weights.importance import ChannelRule, choose_channels
from sdsearch.weights.inherit import inherit_weights, load_unet, make_unet
from sdsearch.weights.provenance import provenance_document, trace_weights
from sdsearch.weights.tensorfile import TensorFile

__all__ = [
    "ChannelRule",
    "TensorFile",
    "choose_channels",
    "inherit_weights",
    "load_unet",
    "make_unet",
    "pair_features",
    "provenance_document",
    "trace_weights",
]
