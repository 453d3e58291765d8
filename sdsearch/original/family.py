"""Which Stable Diffusion a single file holds, from its header: family, channels, prediction.

A file has no configs. Those of SD 1.x and 2.x come with the package, in `families/`; what a family
leaves open is read from the header, or has to be said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sdsearch.errors import InputError
from sdsearch.original.moves import PREFIXES
from sdsearch.original.unet import UNetLayout, read_original_layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.files import TensorEntry

FamilyName = Literal["sd1", "sd2"]
Prediction = Literal["epsilon", "v_prediction"]
_TEXT_WIDTHS: dict[FamilyName, int] = {"sd1": 768, "sd2": 1024}
_READS_TEXT = "attn2.to_k.weight"
_CHANNELS = 320
_INPUTS = (4, 9)
_UNPRUNED = UNetLayout(
    ((True, True),) * 3 + ((False, False),), ((False,) * 3,) + ((True,) * 3,) * 3, 2
)
_OTHERS = {
    "conditioner.": "it is SDXL's, which is not supported",
    "joint_blocks.": "it is another family's",
    "double_blocks.": "it is another family's",
    "down_blocks.": "it holds one part under diffusers' names; bring it as a diffusers folder",
    "unet.": "it holds diffusers' names; bring it as a diffusers folder",
    "lora_": "it is a LoRA; name the model that it belongs to",
    "model_ema.": "it has averages of training only; save it with the weights themselves",
}
"""What else a file may hold, by how a name begins."""
_HEADER_KEYS = ("modelspec.prediction_type", "modelspec.predict_key")
_WORDS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v_prediction",
    "v_prediction": "v_prediction",
}


@dataclass(frozen=True, slots=True)
class SingleFile:
    """What the header of a single file says.

    Attributes:
        family: whose configs, tokenizer settings and names its text encoder has.
        in_channels: of its UNet: 4, or 9 of one that inpaints.
        is_stock: whether the UNet is the unpruned one of its family, for which the configs are.
        prediction: what the UNet predicts, where the header says it.
        zero_snr: whether it was trained on noise that leaves nothing of the picture at the end.
    """

    family: FamilyName
    in_channels: int
    is_stock: bool
    prediction: Prediction | None
    zero_snr: bool = False


def family_folder(family: FamilyName) -> Path:
    """The configs of a family, laid out as in a diffusers folder, without any vocabulary."""
    return Path(__file__).resolve().parent / "families" / family


def read_single_file(
    entries: Mapping[str, TensorEntry], metadata: Mapping[str, str], where: str
) -> SingleFile:
    """Read what a header says; `where` is what errors call the file.

    Raises:
        InputError: it is no Stable Diffusion 1.x or 2.x in the original layout, with UNet,
            autoencoder and text encoder.
    """
    first = entries.get(f"{PREFIXES['unet']}input_blocks.0.0.weight")
    if first is None or len(first.shape) != 4:
        raise InputError(
            f"{where} must hold a UNet in Stable Diffusion's original layout, but "
            f"{_explain(entries)}"
        )
    for part, prefix in PREFIXES.items():
        if not any(name.startswith(prefix) for name in entries):
            said = "it is SDXL's" if _has(entries, "conditioner.") else "there is none"
            raise InputError(
                f"{where} must hold the {part} as {prefix}..., but {said}; take the file with all "
                "parts, or a diffusers folder"
            )
    names = _names_of(entries, "unet")
    inputs, family = first.shape[1], _read_family(entries)
    if inputs not in _INPUTS:
        raise InputError(
            f"{where} must hold a UNet of 4 or 9 input channels, but it has {inputs}: it does "
            "another task"
        )
    text = next((one.shape[-1:] for n, one in names.items() if n.endswith(_READS_TEXT)), ())
    is_stock = (
        first.shape[0] == _CHANNELS
        and text == (_TEXT_WIDTHS[family],)
        and read_original_layout(names) == _UNPRUNED
    )
    return SingleFile(
        family, inputs, is_stock, _read_prediction(entries, metadata), "ztsnr" in entries
    )


def _read_family(entries: Mapping[str, TensorEntry]) -> FamilyName:
    """By the names of the text encoder."""
    return "sd2" if _has(entries, f"{PREFIXES['text_encoder']}model.") else "sd1"


def parse_prediction(said: str) -> Prediction | None:
    """What a UNet predicts, in any of the words of headers and YAML files.

    >>> parse_prediction("v"), parse_prediction("x0")
    ('v_prediction', None)
    """
    return _WORDS.get(said.strip().strip("\"'").lower())


def _read_prediction(
    entries: Mapping[str, TensorEntry], metadata: Mapping[str, str]
) -> Prediction | None:
    found = (parse_prediction(str(metadata[key])) for key in _HEADER_KEYS if key in metadata)
    if known := next((one for one in found if one), None):
        return known
    is_v = "v_pred" in entries or metadata.get("ss_v_parameterization") == "True"
    return "v_prediction" if is_v else None


def _names_of(entries: Mapping[str, TensorEntry], part: str) -> dict[str, TensorEntry]:
    """The tensors of a part, without how its names begin."""
    prefix = PREFIXES[part]
    return {n.removeprefix(prefix): one for n, one in entries.items() if n.startswith(prefix)}


def _has(entries: Mapping[str, TensorEntry], beginning: str) -> bool:
    return any(name.startswith(beginning) for name in entries)


def _explain(entries: Mapping[str, TensorEntry]) -> str:
    found = (why for beginning, why in _OTHERS.items() if _has(entries, beginning))
    shown = ", ".join(sorted(entries)[:3]) or "none"
    return next(found, f"it has no {PREFIXES['unet']}...; its tensors begin with {shown}")
