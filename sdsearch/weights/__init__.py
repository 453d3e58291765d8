"""Which weights a student inherits: where every tensor comes from, and which channels it keeps.

It imports `unet`, `pipelines`, `original`, and torch. Start at `trace_weights`.
"""

from sdsearch.weights.feature_pairs import pair_features
from sdsearch.weights.importance import ChannelRule, choose_channels
from sdsearch.weights.inherit import (
    ChannelCut,
    frequency_resampling,
    inherit_weights,
    load_unet,
    make_unet,
    plan_cut,
)
from sdsearch.weights.notes import forget_note, origin_of, rename_noted, write_noted
from sdsearch.weights.parts import (
    check_plain,
    find_quantized,
    load_part,
    load_tokenizer,
    load_unet_part,
    open_unet_weights,
    open_weights,
    quiet_libraries,
)
from sdsearch.weights.provenance import (
    Source,
    provenance_document,
    read_channels,
    trace_weights,
)
from sdsearch.weights.single_file import (
    MovedTensors,
    check_packable,
    fill_transformers,
    pack_pipeline,
    packed_attentions,
    packed_precision,
    write_single_file,
)
from sdsearch.weights.sizes import check_sizes
from sdsearch.weights.tensorfiles import TensorFiles
from sdsearch.weights.writing import METADATA, stored_as, write_tensors

__all__ = [
    "METADATA",
    "ChannelCut",
    "ChannelRule",
    "MovedTensors",
    "Source",
    "TensorFiles",
    "check_packable",
    "check_plain",
    "check_sizes",
    "choose_channels",
    "fill_transformers",
    "find_quantized",
    "forget_note",
    "frequency_resampling",
    "inherit_weights",
    "load_part",
    "load_tokenizer",
    "load_unet",
    "load_unet_part",
    "make_unet",
    "open_unet_weights",
    "open_weights",
    "origin_of",
    "pack_pipeline",
    "packed_attentions",
    "packed_precision",
    "pair_features",
    "plan_cut",
    "provenance_document",
    "quiet_libraries",
    "read_channels",
    "rename_noted",
    "stored_as",
    "trace_weights",
    "write_noted",
    "write_single_file",
    "write_tensors",
]
