"""The parts of a pipeline in an export: copied file by file, each also in half precision.

A file is rewritten only where a loader would not read it as it is, or where it names a place on the
machine that it comes from; then tensor by tensor, so that no part is ever in memory.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import torch

from sdsearch.export.portable import (
    complete_vocabulary,
    drop_places,
    load_in_single,
    tensor_name,
)
from sdsearch.files import share_file
from sdsearch.pipelines import read_json, weight_stem
from sdsearch.weights import METADATA, TensorFiles, open_weights, stored_as, write_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from sdsearch.pipelines import Part

_VOCABULARY = ("vocab.json", "tokenizer.json", "added_tokens.json")


def write_part(part: Part, folder: Path) -> None:
    """Write a part of a pipeline into its folder in `folder`: what is read of it, nothing beside.

    Weights are under their plain name in the precision that they are stored in, and as the variant
    fp16; pickles become safetensors. Copies are files of their own, with fresh permissions.

    Raises:
        InputError: a file of it cannot be read.
        WorkError: its weights are beyond half precision.
    """
    target = folder / part.name
    target.mkdir()
    tensors = open_weights(part) if part.weights else {}
    index = part.folder / part.weights.index if part.weights and part.weights.index else None
    for file in part.files:
        if file in part.weight_files or file == index:
            continue
        if file.suffix == ".json" and file.name not in _VOCABULARY:
            _copy_settings(file, target / file.name, part, tensors)
        else:
            shutil.copyfile(file, target / file.name)
    if part.name == "tokenizer":
        complete_vocabulary(target)
    if part.weights:
        stem = target / weight_stem(part.library)
        write_weights(
            stem, tensors, part.weight_files, index, lambda name: tensor_name(part.name, name)
        )


def write_weights(
    stem: Path,
    tensors: Mapping[str, Tensor],
    files: Sequence[Path],
    index: Path | None = None,
    rename: Callable[[str], str] = str,
    *,
    link: bool = False,
) -> None:
    """Write weights under the name `stem`, and in half precision under that of the variant fp16.

    Args:
        stem: folder and name, without suffix.
        tensors: what `files` hold.
        files: one file, or all shards; copied byte for byte where they are fit for every loader.
        index: of shards, which file holds which tensor.
        rename: from the name of a tensor to the name that every loader knows.
        link: whether a file that would be copied may be shared instead: one that is ours, and is
            replaced and never written into.

    Raises:
        WorkError: the weights are beyond half precision.
    """
    if _fit_as_they_are(tensors, rename):
        _copy_weights(stem, files, index, share_file if link else shutil.copyfile)
    else:
        write_tensors(stem.with_name(f"{stem.name}.safetensors"), tensors, rename=rename)
    half = stem.with_name(f"{stem.name}.fp16.safetensors")
    write_tensors(half, tensors, half=True, rename=rename)


def _fit_as_they_are(tensors: Mapping[str, Tensor], rename: Callable[[str], str]) -> bool:
    """Whether files hold safetensors, under names that all know, and metadata that all may see."""
    return (
        isinstance(tensors, TensorFiles)
        and all(said == METADATA for said in tensors.metadata)
        and all(rename(name) == name for name in tensors)
    )


def _copy_weights(
    stem: Path,
    files: Sequence[Path],
    index: Path | None,
    copy: Callable[[Path, Path], object],
) -> None:
    """Copy one file or shards under the names of no variant, as loaders look for them."""
    if index is None:
        (file,) = files
        copy(file, stem.with_name(f"{stem.name}.safetensors"))
        return
    names = {
        file.name: f"{stem.name}-{number:05d}-of-{len(files):05d}.safetensors"
        for number, file in enumerate(files, 1)
    }
    for file in files:
        copy(file, stem.with_name(names[file.name]))
    said = read_json(index)
    renamed = {name: names[file] for name, file in said["weight_map"].items()}
    target = stem.with_name(f"{stem.name}.safetensors.index.json")
    _copy_json(index, target, said, drop_places({**said, "weight_map": renamed}))


def _copy_settings(file: Path, target: Path, part: Part, tensors: Mapping[str, Tensor]) -> None:
    """Copy a config, byte for byte unless something in it has to go."""
    said = read_json(file)
    kept = drop_places(said)
    if part.weights and part.library != "diffusers":
        kept = load_in_single(kept, stored_in_single=_is_single(tensors))
    _copy_json(file, target, said, kept)


def _copy_json(file: Path, target: Path, said: object, kept: object) -> None:
    """Copy a file that says what is to be kept, and write what is to be kept of any other."""
    if kept == said:
        shutil.copyfile(file, target)
    else:
        text = json.dumps(kept, indent=2, ensure_ascii=False) + "\n"
        target.write_text(text, encoding="utf-8")


def _is_single(tensors: Mapping[str, Tensor]) -> bool:
    dtypes = {stored_as(tensors, name)[0] for name in tensors}
    return {dtype for dtype in dtypes if dtype.is_floating_point} <= {torch.float32}
