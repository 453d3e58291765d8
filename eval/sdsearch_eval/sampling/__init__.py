"""From noise, mask and words to images, and how long a UNet call takes.

It imports `data` and `models`. Start at `sampling`, then `generation`.
"""

from sdsearch_eval.sampling.generation import Generated, generate
from sdsearch_eval.sampling.latency import LATENCY_CALLS, measure_latency
from sdsearch_eval.sampling.sampling import (
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
    "Generated",
    "UNetInputs",
    "cast_unet",
    "draw_noise",
    "fill_survey",
    "generate",
    "images_to_tensor",
    "measure_latency",
    "paste_back",
    "prepare_inputs",
    "sample_latents",
    "tensor_to_images",
    "unet_input",
]
