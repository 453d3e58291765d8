"""One UNet of the family: its 46 slots, its architecture, graph, costs, memory and stock config.

It imports `pipelines` and single modules. Start at `slots` and `architecture`; `config` speaks
diffusers.
"""

from sdsearch.unet.architecture import NAMED, UNPRUNED, Architecture, Bottom, Level, member_backbone
from sdsearch.unet.backbone import (
    INPAINT_CHANNELS,
    LEVELS,
    PAINT_CHANNELS,
    PRESETS,
    SD14,
    SD14_INPAINT,
    TINY,
    Backbone,
    check_family,
    plain_config,
)
from sdsearch.unet.config import read_architecture, student_path, unet_config
from sdsearch.unet.cost import (
    TEXT_TOKENS,
    SlotCost,
    UNetCost,
    count_macs,
    count_params,
    slot_costs,
    unet_cost,
)
from sdsearch.unet.gate import (
    check_pipeline_family,
    find_misfits,
    is_unet_config,
    native_size,
    read_unet_config,
)
from sdsearch.unet.graph import EDGES, ArchGraph, active_edges, build_graph
from sdsearch.unet.memory import activation_values
from sdsearch.unet.noise_schedule import NoiseSchedule, read_noise_schedule
from sdsearch.unet.slots import SLOTS, SLOTS_BY_NAME, UNIT_NAMES, Half, Slot, SlotState, level_sizes
from sdsearch.unet.teacher import (
    check_teacher,
    find_backbone,
    former_teacher_sha256,
    is_full_size,
    teacher_backbone,
    teacher_identity,
    teacher_resolution,
    teacher_sha256,
)

__all__ = [
    "EDGES",
    "INPAINT_CHANNELS",
    "LEVELS",
    "NAMED",
    "PAINT_CHANNELS",
    "PRESETS",
    "SD14",
    "SD14_INPAINT",
    "SLOTS",
    "SLOTS_BY_NAME",
    "TEXT_TOKENS",
    "TINY",
    "UNIT_NAMES",
    "UNPRUNED",
    "ArchGraph",
    "Architecture",
    "Backbone",
    "Bottom",
    "Half",
    "Level",
    "NoiseSchedule",
    "Slot",
    "SlotCost",
    "SlotState",
    "UNetCost",
    "activation_values",
    "active_edges",
    "build_graph",
    "check_family",
    "check_pipeline_family",
    "check_teacher",
    "count_macs",
    "count_params",
    "find_backbone",
    "find_misfits",
    "former_teacher_sha256",
    "is_full_size",
    "is_unet_config",
    "level_sizes",
    "member_backbone",
    "native_size",
    "plain_config",
    "read_architecture",
    "read_noise_schedule",
    "read_unet_config",
    "slot_costs",
    "student_path",
    "teacher_backbone",
    "teacher_identity",
    "teacher_resolution",
    "teacher_sha256",
    "unet_config",
    "unet_cost",
]
