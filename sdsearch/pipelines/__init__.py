"""Diffusers pipelines as they are brought: where they lie, which parts they have, which files.

It imports `files`, `original` and single modules, and no torch. Start at `folder`.
"""

from sdsearch.pipelines.distilled import explain_class, explain_field, find_distilled
from sdsearch.pipelines.folder import (
    CARD,
    INDEX,
    OPTIONAL_PARTS,
    PARTS,
    SINGLE_FILES,
    Part,
    PipelineFolder,
    conversion_command,
    find_config,
    find_paper,
    list_files,
    locate_pipeline,
    open_pipeline,
    read_index,
    read_part,
)
from sdsearch.pipelines.licence import HUB_LICENCES, Licence, read_licence
from sdsearch.pipelines.reading import check_pulled, read_json
from sdsearch.pipelines.weight_files import WeightFiles, choose_weights, shard_names, weight_stem

__all__ = [
    "CARD",
    "HUB_LICENCES",
    "INDEX",
    "OPTIONAL_PARTS",
    "PARTS",
    "SINGLE_FILES",
    "Licence",
    "Part",
    "PipelineFolder",
    "WeightFiles",
    "check_pulled",
    "choose_weights",
    "conversion_command",
    "explain_class",
    "explain_field",
    "find_config",
    "find_distilled",
    "find_paper",
    "list_files",
    "locate_pipeline",
    "open_pipeline",
    "read_index",
    "read_json",
    "read_licence",
    "read_part",
    "shard_names",
    "weight_stem",
]
