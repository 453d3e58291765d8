"""The folder of one search: its paths, its configuration, who is in it, and what its stages made.

It imports `design`, `space`, `labels` and `unet`. Start at `folder`, then `listing`.
"""

from sdsearch.study.config import MachineConfig, StudyConfig, parse_config
from sdsearch.study.folder import (
    StudyFolder,
    load_latency_table,
    load_meter,
    load_space,
    read_study,
    write_protocols,
)
from sdsearch.study.listing import (
    Listing,
    Origin,
    find_design,
    mend_listing,
    read_designs,
    read_listing,
    read_sample,
    write_sample,
)
from sdsearch.study.locks import one_at_a_time
from sdsearch.study.opening import adopt_labels, inspect_dataset, inspect_study, open_study
from sdsearch.study.preset import Beside, Preset, preset_settings, read_preset, set_beside
from sdsearch.study.recipes import Recipe, find_recipe, warn_of_resolution
from sdsearch.study.records import (
    find_stages,
    is_current,
    outputs_of,
    read_outputs,
    record_done,
    versions,
)
from sdsearch.study.requests import (
    REQUEST,
    AdoptRequest,
    AppRequest,
    FinetuneRequest,
    GridRequest,
    HarnessRequest,
    InpaintRequest,
    InspectRequest,
    LatencyRequest,
    PlanRequest,
    RecomputeRequest,
    RecoverRequest,
    ResolveRequest,
    ServeRequest,
    Stage,
    Task,
    ThumbnailsRequest,
)
from sdsearch.study.sample import draw_sample

__all__ = [
    "REQUEST",
    "AdoptRequest",
    "AppRequest",
    "Beside",
    "FinetuneRequest",
    "GridRequest",
    "HarnessRequest",
    "InpaintRequest",
    "InspectRequest",
    "LatencyRequest",
    "Listing",
    "MachineConfig",
    "Origin",
    "PlanRequest",
    "Preset",
    "Recipe",
    "RecomputeRequest",
    "RecoverRequest",
    "ResolveRequest",
    "ServeRequest",
    "Stage",
    "StudyConfig",
    "StudyFolder",
    "Task",
    "ThumbnailsRequest",
    "adopt_labels",
    "draw_sample",
    "find_design",
    "find_recipe",
    "find_stages",
    "inspect_dataset",
    "inspect_study",
    "is_current",
    "load_latency_table",
    "load_meter",
    "load_space",
    "mend_listing",
    "one_at_a_time",
    "open_study",
    "outputs_of",
    "parse_config",
    "preset_settings",
    "read_designs",
    "read_listing",
    "read_outputs",
    "read_preset",
    "read_sample",
    "read_study",
    "record_done",
    "set_beside",
    "versions",
    "warn_of_resolution",
    "write_protocols",
    "write_sample",
]
