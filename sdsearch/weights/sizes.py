"""How large a part of a pipeline may be: what its config asks for, and what its files hold.

Configs come from anywhere, and the class that one names builds whatever it says. Both are looked at
before anything is built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdsearch.errors import FieldError, InputError
from sdsearch.weights.writing import stored_as

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from sdsearch.pipelines import Part

_LARGEST = 1 << 20
"""Of any number in a config, beyond those of every part of Stable Diffusion."""
_MOST_LAYERS = 64
_MOST_ENTRIES = 16
"""Of a list, which has one for each level."""
_COUNTS = ("layers", "blocks", "block")
"""How fields end that say how many modules there are."""
_STEP = "take the file that save_pretrained wrote"


def check_sizes(config: Mapping[str, Any], where: str) -> None:
    """Refuse a config that asks for far more than any such part has.

    Args:
        config: of an autoencoder, a text encoder or another part; not of a UNet, which
            `unet.read_unet_config` reads.
        where: what errors call it.

    Raises:
        FieldError: the first field that does.
    """
    for field, value in _walk(config):
        if isinstance(value, list):
            if len(value) > _MOST_ENTRIES:
                wanted = f"a list of at most {_MOST_ENTRIES} entries"
                raise FieldError(f"{where}: {field}", f"{len(value)} entries", wanted, _STEP)
            continue
        most = _MOST_LAYERS if field.rstrip(".0123456789").endswith(_COUNTS) else _LARGEST
        if isinstance(value, int | float) and not abs(value) <= most:
            raise FieldError(f"{where}: {field}", value, f"at most {most}", _STEP)


def check_filled(part: Part, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold not even half of the module: what is lacking would be invented.

    Fewer that are missing are named once the part is loaded.

    Args:
        part: what errors name.
        module: as its config builds it, without memory.
        tensors: what its files hold, whatever their names.

    Raises:
        InputError: they do.
    """
    wanted = sum(weight.numel() for weight in module.parameters())
    held = sum(math.prod(stored_as(tensors, name)[1]) for name in tensors)
    held = min(held, sum(file.stat().st_size for file in part.weight_files))  # pickles may repeat
    if 2 * held < wanted:
        raise InputError(
            f"the weights of the {part.name} in {part.folder} must hold the {wanted:,} numbers "
            f"that its config asks for, but hold {held:,}; copy or download them again"
        )


def _walk(value: Any, field: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a config that is none of several, and every list, by its path."""
    below: Any = ()
    if isinstance(value, Mapping):
        below = value.items()
    else:
        yield field, value
        if isinstance(value, list):
            below = enumerate(value)
    for name, one in below:
        yield from _walk(one, f"{field}.{name}" if field else str(name))
