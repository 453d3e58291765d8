"""What can be wrong with a UNet's weight files, against the modules that its config builds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.check.problems import Problem
from sdsearch.errors import InputError
from sdsearch.pipelines import choose_weights, conversion_command, shard_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sdsearch.pipelines import WeightFiles

Shapes = dict[str, tuple[int, ...]]

_SHOWN = 3
_REBUILD = (
    "never edit modules in place: build the UNet from its config, then load the weights and save"
)


def check_weights(
    folder: Path, config: Mapping[str, Any], *, required: bool, read: bool = True
) -> tuple[list[Problem], int | None]:
    """Problems of the weights in a UNet's folder, and the parameters that the config builds.

    Every tensor is read once, one at a time, to find values that are not finite. `required` says
    that a folder without weights is a problem; `read` False looks at the config alone.
    """
    try:
        expected = config_shapes(config)
    except Exception as error:  # noqa: BLE001 (whatever the class raises is the finding)
        return [_unbuildable(error)], None
    params = sum(_size(shape) for shape in expected.values())
    if not read:
        return [], params
    try:
        weights = choose_weights(
            [path.name for path in folder.iterdir()], "diffusers", safe_first=True
        )
        if weights is None or weights.pickled:
            return list(_absent(folder, weights, required=required)), params
        names = shard_names(folder, weights.index) if weights.index else weights.names
    except InputError as error:
        return [_unreadable(folder, error)], params
    found: Shapes = {}
    problems: list[Problem] = []
    for file in (folder / name for name in names):
        try:
            problems += _read(file, found)
        except InputError as error:
            problems.append(_unreadable(file, error))
    if not any(problem.code == "unreadable-weights" for problem in problems):
        problems += _compare(expected, found, config)
    return problems, params


def config_shapes(config: Mapping[str, Any]) -> Shapes:
    """The shapes of all tensors that diffusers builds for a config, without memory for them."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(dict(config))
    return {name: tuple(tensor.shape) for name, tensor in unet.state_dict().items()}


def _read(file: Path, found: Shapes) -> Iterator[Problem]:
    import torch

    from sdsearch.weights import TensorFiles, find_quantized

    tensors = TensorFiles(file)
    for name in find_quantized(tensors):
        yield Problem(
            code="quantized",
            where=f"{file.name}: {name}",
            found=f"of {tensors.dtype(name)} in quantized weights",
            wanted="plain floating point, without scales",
            next_step="save the UNet in float16 or float32",
        )
    for name, tensor in tensors.items():
        found[name] = tuple(tensor.shape)
        finite = torch.isfinite(tensor.float())  # fp8 has no test of its own
        if not finite.all():
            bad = int((~finite).sum())
            yield Problem(
                code="not-finite",
                where=f"{file.name}: {name}",
                found=f"NaN or infinite in {bad} of {tensor.numel()} values",
                wanted="finite",
                next_step="it would paint black images; export again, in float32 if need be",
            )


def _compare(expected: Shapes, found: Shapes, config: Mapping[str, Any]) -> Iterator[Problem]:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing and all(name.startswith("mid_block.") for name in missing):
        yield Problem(
            code="mid-block-missing",
            where="mid_block",
            found=f"without any of its {len(missing)} tensors",
            wanted=f"there, as mid_block_type is {config.get('mid_block_type', 'the default')!r}",
            next_step="diffusers would rebuild it with random weights: set mid_block_type to null",
        )
    elif missing:
        yield _names("missing-tensors", missing, "there, as the config builds them")
    if extra:
        yield _names("extra-tensors", extra, "absent, as the config has no place for them")
    for name in sorted(expected.keys() & found.keys()):
        if expected[name] != found[name]:
            yield _mismatch(name, expected[name], found[name])


def _mismatch(name: str, expected: tuple[int, ...], found: tuple[int, ...]) -> Problem:
    if 0 in found:
        return Problem(
            code="empty-tensor",
            where=name,
            found=f"empty, of shape {found}",
            wanted=f"of shape {expected}",
            next_step="gather sharded weights (ZeRO-3, FSDP) before saving",
        )
    if name == "conv_in.weight" and found[1:2] != expected[1:2]:
        return Problem(
            code="input-channels",
            where=name,
            found=f"of {found[1]} input channels",
            wanted=f"of in_channels = {expected[1]}",
            next_step="extend conv_in by zeros (latent 4, mask 1, masked latent 4), or set "
            "in_channels; never load with ignore_mismatched_sizes",
        )
    return Problem(
        code="shape-mismatch",
        where=name,
        found=f"of shape {found}",
        wanted=f"of shape {expected}, as the config builds it",
        next_step=_REBUILD,
    )


def _names(code: str, names: list[str], wanted: str) -> Problem:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Problem(
        code=code,
        where=", ".join(names[:_SHOWN]) + more,
        found="missing" if code == "missing-tensors" else "there",
        wanted=wanted,
        next_step=_REBUILD,
    )


def _absent(folder: Path, weights: WeightFiles | None, *, required: bool) -> Iterator[Problem]:
    if weights is not None:
        yield Problem(
            code="pickled-weights",
            where=weights.names[0],
            found="a pickle, which can run code and was not opened",
            wanted="safetensors",
            next_step=f"convert it where you trust it: {conversion_command(folder, weights)}",
        )
    elif required:
        yield Problem(
            code="no-weights",
            where=str(folder),
            found="without weights",
            wanted="a folder with diffusion_pytorch_model.safetensors",
            next_step="save the pipeline again with save_pretrained",
        )


def _unbuildable(error: Exception) -> Problem:
    return Problem(
        code="unbuildable-config",
        where="config.json",
        found=f"refused by UNet2DConditionModel ({type(error).__name__}: {error})",
        wanted="one that the class builds",
        next_step="mend the fields named here",
    )


def _unreadable(file: Path, error: InputError) -> Problem:
    return Problem(
        code="unreadable-weights",
        where=file.name,
        found=f"unreadable ({error})",
        wanted="a whole safetensors file",
        next_step="copy or download it again",
    )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
