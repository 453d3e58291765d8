"""A pipeline as one file in the original layout: UNet, autoencoder and text encoder.

Importers such as ComfyUI's read it. They take the tokenizer and the noise schedule, which it cannot
hold, from the family; what the UNet predicts stands in the header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.errors import FieldError, WorkError
from sdsearch.original import PREFIXES, Move, name_text, name_unet, name_vae, read_unet
from sdsearch.pipelines import read_json, read_part
from sdsearch.weights.parts import open_weights
from sdsearch.weights.tensorfiles import TensorFiles
from sdsearch.weights.writing import METADATA, write_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from sdsearch.pipelines import PipelineFolder

PREDICTION = "modelspec.prediction_type"
"""The header's word for what the UNet predicts: "epsilon" or "v", as other programs write it."""
_TEXT = ".attn2.to_k.weight"
_ATTENTION = ".transformer_blocks.0.norm1.weight"
_PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v"}


def check_packable(pipeline: PipelineFolder) -> None:
    """Refuse a pipeline with a part that the original layout has no names for.

    Raises:
        FieldError: its autoencoder is no AutoencoderKL, or its UNet predicts neither noise nor v.
        InputError: a part cannot be read.
    """
    if (kind := read_part(pipeline, "vae").class_name) != "AutoencoderKL":
        raise FieldError(
            "the autoencoder of a single file", kind, "'AutoencoderKL'", "export a folder alone"
        )
    _prediction(pipeline)


def pack_pipeline(pipeline: PipelineFolder, file: Path, *, half: bool = True) -> None:
    """Write a pipeline as one file, read it back, and compare.

    Args:
        pipeline: with a UNet that the original layout says exactly (`space.why_not_loaded`).
        file: must not exist.
        half: store float16, else float32.

    Raises:
        FieldError, InputError: as `check_packable`.
        WorkError: a value overflows float16, or the file reads back otherwise.
    """
    check_packable(pipeline)
    names = ("unet", "vae", "text_encoder")
    parts = {name: open_weights(read_part(pipeline, name)) for name in names}
    config = read_json(read_part(pipeline, "unet").files[0])
    write_single_file(
        file,
        parts,
        open_clip=bool(config.get("use_linear_projection")),
        half=half,
        said={PREDICTION: _prediction(pipeline)},
    )
    _check_unet(file, parts["unet"], half=half)


def packed_precision(file: Path) -> str:
    """The precision in which a single file of ours holds its UNet, such as "float16"."""
    return str(TensorFiles(file).dtype(f"{PREFIXES['unet']}out.2.weight")).removeprefix("torch.")


def packed_attentions(file: Path) -> int:
    """How many attention blocks the UNet of a single file of ours has."""
    prefix = PREFIXES["unet"]
    return sum(name.startswith(prefix) and name.endswith(_ATTENTION) for name in TensorFiles(file))


def _prediction(pipeline: PipelineFolder) -> str:
    config: Mapping[str, Any] = read_json(read_part(pipeline, "scheduler").files[0])
    said = config.get("prediction_type", "epsilon")
    if said not in _PREDICTIONS:
        raise FieldError(
            "scheduler_config.json: prediction_type",
            said,
            "'epsilon' or 'v_prediction'",
            "no importer of single files knows another",
        )
    return _PREDICTIONS[said]


def _check_unet(file: Path, tensors: Mapping[str, Tensor], *, half: bool) -> None:
    """Read the UNet back by the way from original names to diffusers', bit by bit."""
    tensors = fill_transformers(tensors)
    found, prefix = TensorFiles(file), PREFIXES["unet"]
    names = [name.removeprefix(prefix) for name in found if name.startswith(prefix)]
    lacking = set(tensors) - set(name_unet(tensors).left_out)
    for move in read_unet(names).moves:
        meant = tensors[move.diffusers[0]]
        if not torch.equal(found[prefix + move.original], meant.half() if half else meant.float()):
            raise WorkError(f"the single file reads back with another {move.diffusers[0]}")
        lacking.discard(move.diffusers[0])
    if lacking:
        raise WorkError(f"the single file reads back without {min(lacking)}")


def write_single_file(
    file: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    *,
    open_clip: bool,
    half: bool = True,
    said: Mapping[str, str] | None = None,
) -> None:
    """Write the tensors of three parts under their original names, one tensor at a time.

    Whether importers read the UNet as what it is, `space.why_not_loaded` says.

    Args:
        file: must not exist.
        parts: the tensors of "unet", "vae" and "text_encoder", by diffusers' names.
        open_clip: whether the text encoder is that of SD 2.x.
        half: store float16, else float32.
        said: what the header says beside the tensors.

    Raises:
        InputError: a tensor has no place in the layout.
        WorkError: a value overflows float16.
    """
    parts = {**parts, "unet": fill_transformers(parts["unet"])}
    renamings = {
        "unet": name_unet(parts["unet"]),
        "vae": name_vae(parts["vae"]),
        "text_encoder": name_text(parts["text_encoder"], open_clip=open_clip),
    }
    moved = {
        PREFIXES[part] + move.original: (parts[part], move)
        for part, renaming in renamings.items()
        for move in renaming.moves
    }
    tensors = MovedTensors(moved, single=not half)
    write_tensors(file, tensors, half=half, said={**METADATA, **(said or {})})


def fill_transformers(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A UNet whose attention blocks without a transformer have one that does nothing, if trained.

    Such a block, of depth 0, is x + proj_out(proj_in(norm(x))) in diffusers. Where its `proj_out`
    is zero it may be left out. Recovery trains it, and the layout has no place for projections
    alone; but the residual branches of a transformer block of zeros are zero, and so the whole
    computes the same.
    """
    trained = dict.fromkeys(
        name.rpartition(".proj_out.")[0]
        for name in name_unet(tensors).left_out
        if ".proj_out." in name and torch.count_nonzero(tensors[name])
    )
    if not trained:
        return tensors
    (context, *_) = (tensors[name].shape[1] for name in tensors if name.endswith(_TEXT))
    silent = {
        f"{block}.transformer_blocks.0.{name}": tensors[f"{block}.proj_out.bias"].new_zeros(shape)
        for block in trained
        for name, shape in _transformer_shapes(
            len(tensors[f"{block}.proj_out.bias"]), context
        ).items()
    }
    return _Both(tensors, silent)


def _transformer_shapes(width: int, context: int) -> dict[str, tuple[int, ...]]:
    """The tensors of one transformer block of so many channels, over texts of so many."""
    w = width
    shapes: dict[str, tuple[int, ...]] = {
        "ff.net.0.proj.weight": (8 * w, w),
        "ff.net.0.proj.bias": (8 * w,),
        "ff.net.2.weight": (w, 4 * w),
        "ff.net.2.bias": (w,),
    }
    for number in (1, 2, 3):
        shapes |= {f"norm{number}.{kind}": (w,) for kind in ("weight", "bias")}
    for name, inputs in (("attn1", w), ("attn2", context)):
        shapes |= {f"{name}.to_q.weight": (w, w)}
        shapes |= {f"{name}.to_{one}.weight": (w, inputs) for one in "kv"}
        shapes |= {f"{name}.to_out.0.weight": (w, w), f"{name}.to_out.0.bias": (w,)}
    return shapes


@dataclass(frozen=True)
class _Both(Mapping[str, "Tensor"]):
    """Tensors that are read when they are looked up, and some more."""

    tensors: Mapping[str, Tensor]
    more: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.more[name] if name in self.more else self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.tensors
        yield from self.more

    def __len__(self) -> int:
        return len(self.tensors) + len(self.more)


@dataclass(frozen=True)
class MovedTensors(Mapping[str, "Tensor"]):
    """Tensors by their original names, each made of diffusers' when it is looked up.

    Attributes:
        sources: by the original name, the tensors of a part and what is moved of them.
        single: whether they are made float32.
    """

    sources: Mapping[str, tuple[Mapping[str, Tensor], Move]]
    single: bool = False

    def __getitem__(self, name: str) -> Tensor:
        tensors, move = self.sources[name]
        found = [tensors[one] for one in move.diffusers]
        whole = found[0] if len(found) == 1 else torch.cat(found)
        whole = whole.float() if self.single else whole
        return whole.reshape(*whole.shape[:2], 1, 1) if move.kernel else whole

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)
