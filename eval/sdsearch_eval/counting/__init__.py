"""What work needs before it is begun: memory counted on meta tensors.

It imports `recovery`, `sampling`, `nets` and what is below them. Start at `counts`.
"""

from sdsearch_eval.counting.counts import (
    Counted,
    Training,
    count_call,
    count_pass,
    count_training,
    unet_inputs,
    weigh_optimizer,
)
from sdsearch_eval.counting.live import LiveMemory
from sdsearch_eval.counting.parts import (
    Parts,
    count_decode,
    count_encode,
    count_features,
    count_text,
    read_parts,
)
from sdsearch_eval.counting.workspaces import bound_workspace

__all__ = [
    "Counted",
    "LiveMemory",
    "Parts",
    "Training",
    "bound_workspace",
    "count_call",
    "count_decode",
    "count_encode",
    "count_features",
    "count_pass",
    "count_text",
    "count_training",
    "read_parts",
    "unet_inputs",
    "weigh_optimizer",
]
