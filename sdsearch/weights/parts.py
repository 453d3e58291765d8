"""The parts of a pipeline as live modules, whatever layout and precision they are stored in."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.errors import FieldError, InputError
from sdsearch.pipelines import read_json
from sdsearch.unet import check_family, read_unet_config
from sdsearch.weights.sizes import check_filled, check_sizes
from sdsearch.weights.tensorfiles import TensorFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch import Tensor, nn
    from transformers import CLIPTokenizer

    from sdsearch.pipelines import Part

_SCALES = ("scale_weight", "weight_scale", "scale_input", "input_scale", "scaled_fp8")
_COUNTED = ("position_ids", "num_batches_tracked")
"""Tensors of whole numbers that are none of a part's weights."""
_VOCABULARY = 49408
"""Of CLIP, where a text encoder does not say it."""
_SHOWN = 3


def load_part(part: Part) -> Any:
    """A part of a pipeline by the class that it names, in float32; pickles hold tensors only.

    Raises:
        InputError: the files cannot be read, are quantized, or lack a tensor of the class.
    """
    check_plain(part)
    import diffusers
    import transformers
    from diffusers.pipelines.stable_diffusion import safety_checker

    libraries: dict[str, ModuleType] = {
        "diffusers": diffusers,
        "transformers": transformers,
        "stable_diffusion": safety_checker,
    }
    kind = getattr(libraries.get(part.library), part.class_name, None)
    if kind is None:
        raise InputError(
            f"the {part.name} must be of a class that is installed, but {part.class_name} of "
            f"{part.library} is not; install what it comes with, or choose another in "
            "model_index.json"
        )
    try:
        if part.weights is None:
            return kind.from_pretrained(part.folder, local_files_only=True)
        check_filled(part, _build_empty(kind, part), open_weights(part))
        module, info = kind.from_pretrained(
            part.folder,
            dtype=torch.float32,
            variant=part.weights.variant,
            use_safetensors=not part.weights.pickled,
            local_files_only=True,
            output_loading_info=True,
        )
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever the class raises is the finding)
        raise InputError(
            f"the {part.name} in {part.folder} cannot be loaded as {part.class_name}: {error}"
        ) from None
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"the weights of the {part.name} in {part.folder} must hold every tensor of "
            f"{part.class_name}, but lack {_some(missing)}; copy or download them again"
        )
    return module


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hold back the libraries' progress bars, and warnings on parts that they did not load."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    libraries = of_diffusers, of_transformers
    shown = [(one.is_progress_bar_enabled(), one.get_verbosity()) for one in libraries]
    for library in libraries:
        library.disable_progress_bar()
        library.set_verbosity_error()
    try:
        yield
    finally:
        for library, (bars, verbosity) in zip(libraries, shown, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()


def _build_empty(kind: Any, part: Part) -> nn.Module:
    """A part as its config says it, of shapes alone."""
    config = read_json(part.files[0])
    check_sizes(config, f"{part.name}/{part.files[0].name}")
    with torch.device("meta"):
        if hasattr(kind, "from_config"):  # of diffusers
            module: nn.Module = kind.from_config(config)
        else:
            module = kind(kind.config_class.from_dict(config))
    return module


def open_weights(part: Part) -> Mapping[str, Tensor]:
    """The tensors of a part as they are stored, one at a time; pickles hold tensors only.

    Raises:
        InputError: a file is broken, or holds more than tensors.
    """
    if part.weights is None or not part.weights.pickled:
        return TensorFiles(*part.weight_files)
    found: dict[str, Tensor] = {}
    for file in part.weight_files:
        try:
            # Files of before torch 1.6 are no archives, and cannot be mapped.
            mapped = zipfile.is_zipfile(file)
            if mapped:
                _check_stored(file)
            held = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
            if not all(isinstance(name, str) for name in held):
                raise TypeError("its tensors have no names")
            found |= {name: tensor.detach() for name, tensor in held.items()}
        except Exception as error:  # noqa: BLE001 (whatever the file makes torch raise)
            # torch advises to trust the file before it says what is wrong with it.
            reason = " ".join(str(error).split()).rpartition("WeightsUnpickler error: ")[2]
            raise InputError(f"{file} must be a pickle of tensors only: {reason}") from None
    return found


def _check_stored(file: Path) -> None:
    """Refuse an archive that unpacks to more than it is, which torch writes none of."""
    with zipfile.ZipFile(file) as archive:
        if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
            raise ValueError("it is a compressed archive")


def open_unet_weights(part: Part) -> TensorFiles:
    """The tensors of a pipeline's UNet, one at a time.

    Raises:
        InputError: a file is broken, or the weights are quantized with scales of their own.
    """
    check_plain(part)
    return TensorFiles(*part.weight_files)


def check_plain(part: Part) -> None:
    """Refuse weights that mean something else than what they hold, which would load in silence.

    Raises:
        InputError: a file is broken, or the weights are quantized with scales of their own.
    """
    if odd := find_quantized(open_weights(part)):
        raise InputError(
            f"the weights of the {part.name} must be plain floating point, but those in "
            f"{part.folder} are quantized: {_some(odd)}; save it in float16 or float32"
        )


def find_quantized(tensors: Mapping[str, Tensor]) -> list[str]:
    """The tensors that are scales of others; where there are none, those of whole numbers."""
    scales = [name for name in tensors if name.endswith(_SCALES)]
    return scales or [
        name
        for name in tensors
        if not name.endswith(_COUNTED) and not _dtype(tensors, name).is_floating_point
    ]


def _dtype(tensors: Mapping[str, Tensor], name: str) -> torch.dtype:
    return tensors.dtype(name) if isinstance(tensors, TensorFiles) else tensors[name].dtype


def load_tokenizer(part: Part, encoder: Part) -> CLIPTokenizer:
    """The tokenizer of a pipeline, each of whose tokens its text encoder knows.

    Raises:
        InputError: it cannot be read, pads with no token, says no length that can be, or has tokens
            that the encoder has no vector for.
    """
    tokenizer: CLIPTokenizer = load_part(part)
    length, known = tokenizer.model_max_length, _vocabulary(encoder)
    for field, value, is_sound, wanted in (
        ("pad_token", tokenizer.pad_token, tokenizer.pad_token is not None, "a token"),
        (
            "model_max_length",
            length,
            isinstance(length, int) and not isinstance(length, bool) and length >= 1,
            "a whole number of tokens, 1 or more",
        ),
        (
            "the number of tokens",
            len(tokenizer),
            len(tokenizer) <= known,
            f"{known} or fewer, the vocab_size of the text encoder",
        ),
    ):
        if not is_sound:
            where = f"{field} of the tokenizer in {part.folder}"
            raise FieldError(where, value, wanted, "take the text encoder's own tokenizer")
    return tokenizer


def _vocabulary(encoder: Part) -> int:
    file = encoder.folder / "config.json"
    size = read_json(file).get("vocab_size", _VOCABULARY)
    if not isinstance(size, int):
        raise FieldError(f"vocab_size in {file}", size, "a whole number", "save it again")
    return size


def load_unet_part(part: Part) -> UNet2DConditionModel:
    """The UNet of a pipeline, pruned or not, in float32 and evaluation mode.

    Raises:
        InputError: it is of another family, or its weights do not fit its config.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    config = read_unet_config(part.folder / "config.json")
    check_family(config)
    tensors = open_unet_weights(part)
    try:
        with torch.device("meta"):
            unet: UNet2DConditionModel = UNet2DConditionModel.from_config(config)
        unet.load_state_dict({name: one.float() for name, one in tensors.items()}, assign=True)
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"the UNet in {part.folder} must fit its config, but does not: "
            f"{' '.join(str(error).split())}"
        ) from None
    return unet.eval()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
