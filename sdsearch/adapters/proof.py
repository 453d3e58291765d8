"""The proof of a cut LoRA: what stock diffusers makes of the file, against weights merged by hand.

The cut slices the two small matrices of a module. Here their product, in the teacher's shape, is
sliced as the student's weights are, and compared with what PEFT's layers would add to them.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.adapters.cutting import find_homes
from sdsearch.errors import InputError, WorkError
from sdsearch.weights import make_unet, quiet_libraries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sdsearch.adapters.cutting import CutLora
    from sdsearch.adapters.reading import Lora
    from sdsearch.unet import Architecture, Backbone

_CLOSE = 1e-5
"""Of a module's largest change: sums of up to some hundred products in float32, in two orders."""


def check_peft() -> None:
    """Refuse to cut a LoRA where the extra `lora` is not installed.

    Raises:
        InputError: it is not; the message says how to install it.
    """
    if importlib.util.find_spec("peft") is None:
        raise InputError(
            "diffusers loads a LoRA by peft, which is not installed, and a cut one is loaded "
            "before it is given to you; install it: pip install peft"
        )


def prove_lora(
    file: Path,
    lora: Lora,
    cut: CutLora,
    arch: Architecture,
    backbone: Backbone,
    kept: Mapping[str, NDArray[np.int64]],
) -> float:
    """Load a cut file by stock diffusers; the largest difference to a merge by hand.

    It is relative to each module's largest change. The student has no weights for it: memory is
    that of the LoRA and of one module.

    Args:
        file: what is left of the LoRA, as it is written.
        lora: the teacher's.
        cut: what must be left.
        arch: the student.
        backbone: the teacher's.
        kept: the channels that the student keeps.

    Raises:
        InputError: the extra `lora` is not installed.
        WorkError: stock diffusers refuses the file, leaves modules out, or changes them otherwise.
    """
    check_peft()
    layers = _load(file, arch, backbone)
    if odd := layers.keys() ^ cut.modules.keys():
        raise WorkError(
            f"stock diffusers must change the {len(cut.modules)} modules that are left of the "
            f"LoRA, but {min(odd)} {'is changed too' if min(odd) in layers else 'is not changed'}"
        )
    largest = 0.0
    for name, home in find_homes(arch, backbone, kept).items():
        if home.module not in layers:
            continue
        module, layer = home.module, layers[home.module]
        delta = home.columns(home.rows(lora.modules[name].delta()))
        with torch.no_grad():
            found = layer.get_delta_weight(layer.active_adapters[0]).float()
        most = delta.abs().max().item() or 1.0
        difference = (found - delta).abs().max().item() / most
        if not difference <= _CLOSE:
            raise WorkError(
                f"the cut LoRA must change {module} in stock diffusers as a merge by hand does, "
                f"but differs by {difference:.2g} of the largest change"
            )
        largest = max(largest, difference)
    return largest


def _load(file: Path, arch: Architecture, backbone: Backbone) -> dict[str, Any]:
    """The layers that stock diffusers puts into a student, by their paths."""
    from diffusers.loaders import StableDiffusionLoraLoaderMixin as Loader
    from peft.tuners.tuners_utils import BaseTunerLayer

    unet = make_unet(arch, backbone)
    try:
        with quiet_libraries(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state, alphas, metadata = Loader.lora_state_dict(
                file, return_lora_metadata=True, local_files_only=True
            )
            _check_keys(state)
            Loader.load_lora_into_unet(state, network_alphas=alphas, unet=unet, metadata=metadata)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise WorkError(
            f"stock diffusers must load the cut LoRA, but does not: {str(error)[:300]}"
        ) from None
    return {name: one for name, one in unet.named_modules() if isinstance(one, BaseTunerLayer)}


def _check_keys(state: Mapping[str, object]) -> None:
    """Raise `ValueError` where a stock pipeline does before it looks at any part."""
    if odd := [key for key in state if "lora" not in key]:
        raise ValueError(f"{odd[0]!r} is no tensor of a LoRA")
