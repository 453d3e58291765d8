"""Which weight files of a part are loaded, of all layouts that diffusers and transformers write.

A layout is one file or shards with an index, as safetensors or as pickles, plain or of a variant:

    diffusion_pytorch_model.safetensors             diffusion_pytorch_model.fp16.safetensors
    diffusion_pytorch_model-00001-of-00002.bin      diffusion_pytorch_model.fp16-00001-of-00002.bin
    diffusion_pytorch_model.bin.index.json          diffusion_pytorch_model.bin.index.fp16.json

Older releases wrote a variant's shards and index as `...-00001-of-00002.fp16.bin` and
`....bin.fp16.index.json`. Parts of transformers say `model` and, pickled, `pytorch_model`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.pipelines.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_VARIANTS = ("", "fp32", "fp16", "bf16", "non_ema")
"""From the first to the last choice; the plain files come first, as in `from_pretrained`."""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """One layout of a part's weights.

    Attributes:
        variant: as `from_pretrained` takes it; None for the plain files.
        pickled: whether they are `.bin` files.
        names: one file, or all shards; in order of their names.
        index: the file that maps tensors to shards, None where there is one file.
    """

    variant: str | None
    pickled: bool
    names: tuple[str, ...]
    index: str | None = None


def weight_stem(library: str, suffix: str = "safetensors") -> str:
    """What a library calls its weight files, before variant, number and suffix.

    >>> weight_stem("diffusers"), weight_stem("transformers"), weight_stem("transformers", "bin")
    ('diffusion_pytorch_model', 'model', 'pytorch_model')
    """
    if library == "diffusers":
        return "diffusion_pytorch_model"
    return "model" if suffix == "safetensors" else "pytorch_model"


def choose_weights(
    names: Iterable[str], library: str, *, safe_first: bool = False
) -> WeightFiles | None:
    """The weights that are loaded, of the file names in a part's folder; None where there are none.

    Plain files are chosen before variants, single precision before half, averaged weights before
    `non_ema`, and safetensors before pickles of the same variant.

    Args:
        names: file names, without folders.
        library: "diffusers", or any other, whose parts are named as those of transformers.
        safe_first: choose safetensors of any variant before plain pickles.

    Raises:
        InputError: shards have no index, or several variants of unknown names are there.
    """
    groups: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names):
        for suffix in ("safetensors", "bin"):
            if found := _parse(name, weight_stem(library, suffix), suffix):
                variant, role = found
                groups[variant, suffix][role].append(name)
    if not groups:
        return None
    unknown = sorted({variant for variant, _ in groups} - set(_VARIANTS))
    if len(unknown) > 1 and len(unknown) == len({variant for variant, _ in groups}):
        raise InputError(
            f"weights must be plain or of one variant, but there are the variants "
            f"{', '.join(unknown)}; keep the files of one of them"
        )
    variant, suffix = min(
        groups, key=lambda group: (safe_first and group[1] == "bin", *_preference(group))
    )
    found_roles = groups[variant, suffix]
    index = next(iter(found_roles["index"]), None)
    whole = found_roles["whole"]
    # Where both are there, diffusers reads the shards and transformers the whole file.
    if whole and (index is None or library != "diffusers"):
        return WeightFiles(variant or None, suffix == "bin", tuple(whole[:1]))
    if index is None:
        raise InputError(
            f"sharded weights need an index, but beside {found_roles['shard'][0]} there is no "
            f"{weight_stem(library, suffix)}.{suffix}.index.json; copy or download it too"
        )
    return WeightFiles(variant or None, suffix == "bin", tuple(found_roles["shard"]), index)


def shard_names(folder: Path, index: str) -> tuple[str, ...]:
    """The shards that an index names, in order of their names.

    Raises:
        InputError: the index is unreadable, or names a file that is not beside it.
    """
    file = folder / index
    mapped = read_json(file).get("weight_map")
    if not isinstance(mapped, dict) or not all(isinstance(one, str) for one in mapped.values()):
        raise InputError(f"{file} must map tensors to files in its weight_map, but does not")
    names = sorted(set(mapped.values()))
    beside = {path.name for path in folder.iterdir()}
    if missing := [name for name in names if name not in beside]:
        raise InputError(
            f"all shards that {file} names must be beside it, but {', '.join(missing)} is missing; "
            "copy or download it again"
        )
    return tuple(names)


def _preference(group: tuple[str, str]) -> tuple[int, bool]:
    variant, suffix = group
    known = _VARIANTS.index(variant) if variant in _VARIANTS else len(_VARIANTS)
    return known, suffix == "bin"


def _parse(name: str, stem: str, suffix: str) -> tuple[str, str] | None:
    """Variant ("" for plain files) and role of a weight file; None for any other file."""
    variant, number = r"(?:\.(?P<variant>[\w-]+?))?", r"-\d{5}-of-\d{5}"
    layouts = {
        "whole": rf"{stem}{variant}\.{suffix}",
        "shard": rf"{stem}{variant}{number}\.{suffix}",
        "legacy shard": rf"{stem}{number}{variant}\.{suffix}",
        "index": rf"{stem}\.{suffix}\.index{variant}\.json",
        "legacy index": rf"{stem}\.{suffix}{variant}\.index\.json",
    }
    # A shard's number must not pass for a part of a variant's name.
    for role in ("shard", "legacy shard", "index", "legacy index", "whole"):
        if match := re.fullmatch(layouts[role], name):
            return match["variant"] or "", role.removeprefix("legacy ")
    return None
