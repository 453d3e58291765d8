"""A teacher's LoRA for its pruned student: read in any style, cut to what is left, and proven.

It imports `weights` and what is below, and torch. Start at `read_lora`, then `cut_lora`.
"""

from sdsearch.adapters.cutting import CutLora, cut_lora
from sdsearch.adapters.modules import LoraModule
from sdsearch.adapters.proof import check_peft, prove_lora
from sdsearch.adapters.reading import Lora, read_lora
from sdsearch.adapters.writing import write_lora

__all__ = [
    "CutLora",
    "Lora",
    "LoraModule",
    "check_peft",
    "cut_lora",
    "prove_lora",
    "read_lora",
    "write_lora",
]
