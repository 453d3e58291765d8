"""A cut LoRA as a file beside an export: loaded by stock diffusers before it has its name."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from sdsearch.adapters.cutting import ALL, cut_lora
from sdsearch.adapters.proof import check_peft, prove_lora
from sdsearch.adapters.reading import read_lora
from sdsearch.errors import InputError
from sdsearch.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sdsearch.unet import Architecture, Backbone


def write_lora(
    source: Path,
    arch: Architecture,
    backbone: Backbone,
    folder: Path,
    kept: Mapping[str, NDArray[np.int64]] = ALL,
) -> Path:
    """Cut a LoRA file down into `folder`, under its own name, with a list of what was dropped.

    The list is a JSON file beside it: `kept`, the student's modules that it changes; `dropped`, why
    each other module of the file went; `text_encoder`, how many tensors of that passed through; and
    `difference`, that of stock diffusers to a merge by hand. `kept` is as in `cut_lora`.

    Raises:
        InputError: the file is no LoRA of this teacher, nothing of it is left, or the extra `lora`
            is not installed.
        WorkError: stock diffusers makes something else of what is left; no file is given its name.
    """
    from safetensors.torch import save

    check_peft()
    out = folder / f"{source.stem}.safetensors"
    if out.exists() and out.samefile(source):
        raise InputError(f"{source} is where the cut LoRA would be; bring the one of the teacher")
    lora = read_lora(source, backbone)
    cut = cut_lora(lora, arch, backbone, kept)
    unproven = folder / f".{out.stem}-{uuid.uuid4().hex[:8]}.tmp"
    tensors = {name: tensor.contiguous() for name, tensor in cut.tensors.items()}
    write_atomic(unproven, save(tensors, cut.metadata), folder.parent)
    try:
        difference = prove_lora(unproven, lora, cut, arch, backbone, kept)
        unproven.replace(out)
    finally:
        unproven.unlink(missing_ok=True)
    listing = {
        "kept": sorted(cut.modules),
        "dropped": cut.dropped,
        "text_encoder": len(cut.text),
        "difference": difference,
    }
    write_atomic(out.with_suffix(".json"), json.dumps(listing, indent=1) + "\n")
    return out
