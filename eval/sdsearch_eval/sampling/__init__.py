"""From noise, mask and words to images; what a UNet call and a whole picture cost.

It imports `data` and `models`. Start at `sampling`, then `generation`.
"""

from sdsearch_eval.sampling.generation import Generated, generate
from sdsearch_eval.sampling.latency import (
    LATENCY_CALLS,
    LONG,
    measure_costs,
    measure_latency,
    measure_picture,
)
from sdsearch_eval.sampling.probing import (
    SLOT_CALLS,
    pose_question,
    probe_removals,
    spread_timesteps,
    time_slots,
    weigh_timesteps,
)
from sdsearch_eval.sampling.sampling import (
    NotFiniteError,
    UNetInputs,
    cast_unet,
    draw_noise,
    images_to_tensor,
    paste_back,
    prepare_inputs,
    sample_latents,
    tensor_to_images,
    unet_input,
)
from sdsearch_eval.sampling.survey import fill_survey

__all__ = [
    "LATENCY_CALLS",
    "LONG",
    "SLOT_CALLS",
    "Generated",
    "NotFiniteError",
    "UNetInputs",
    "cast_unet",
    "draw_noise",
    "fill_survey",
    "generate",
    "images_to_tensor",
    "measure_costs",
    "measure_latency",
    "measure_picture",
    "paste_back",
    "pose_question",
    "prepare_inputs",
    "probe_removals",
    "sample_latents",
    "spread_timesteps",
    "tensor_to_images",
    "time_slots",
    "unet_input",
    "weigh_timesteps",
]
