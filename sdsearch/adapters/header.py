"""The header of a LoRA file, where diffusers says rank and alpha of each module.

Stock diffusers reads the fields of PEFT's `LoraConfig` there, with the part's name in front of each
(`unet.r`). Where it finds any such header, fields that it lacks have PEFT's defaults. PEFT itself
keeps them in a file beside.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from sdsearch.errors import InputError
from sdsearch.files import parse_json, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sdsearch.adapters.modules import LoraModule

Value = TypeVar("Value")

HEADER = "lora_adapter_metadata"
PEFT_FILE = "adapter_config.json"
_UNET, _TEXT = "unet.", "text_encoder."
_STALE = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
"""Hashes of the tensors that were: those of the cut file are others."""
_MORE = (
    "use_dora", "lora_bias", "modules_to_save", "layer_replication", "target_parameters",
    "trainable_token_indices", "alora_invocation_tokens", "use_qalora", "use_bdlora",
    "arrow_config", "kasa_config", "monteclora_config", "velora_config", "fan_in_fan_out",
)  # fmt: skip
"""Fields by which an adapter does something else than add a product to a weight."""


def _plain(pattern: str) -> str:
    """A pattern of names that is safe to match: PEFT takes any regular expression."""
    if not re.fullmatch(r"\^?[\w.]+", pattern):
        raise ValueError(f"{pattern!r} is a pattern; only names of modules are read")
    return pattern


Name = Annotated[str, AfterValidator(_plain)]


class AdapterConfig(BaseModel):
    """The fields of PEFT's `LoraConfig` that decide a module's rank and scale; others are kept."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    r: int = Field(8, ge=1)
    lora_alpha: float = Field(8, gt=0)
    rank_pattern: dict[Name, int] | None = None
    alpha_pattern: dict[Name, Annotated[float, Field(gt=0)]] | None = None
    use_rslora: bool = False
    bias: str | None = "none"

    def rank_of(self, module: str) -> int:
        """The rank that PEFT gives a module."""
        return _first_match(self.rank_pattern or {}, module, self.r)

    def alpha_of(self, module: str) -> float:
        """The alpha by which `alpha / rank` is the scale that PEFT gives a module."""
        alpha = _first_match(self.alpha_pattern or {}, module, self.lora_alpha)
        return alpha * math.sqrt(self.rank_of(module)) if self.use_rslora else alpha


def read_header(metadata: Mapping[str, str], prefix: str) -> AdapterConfig | None:
    """What a file's header says of the UNet's part; None where it has no such header.

    `prefix` is what the file's tensors of the UNet begin with, and so the fields.

    Raises:
        InputError: it is no JSON object, or says something that is not a LoRA's.
    """
    if not metadata.get(HEADER):
        return None
    fields = _parse(metadata)
    own = {key.removeprefix(prefix): one for key, one in fields.items() if key.startswith(prefix)}
    return parse_config(own, f"the header {HEADER!r}")


def read_peft(file: Path) -> AdapterConfig:
    """What PEFT's own file beside a LoRA says.

    Raises:
        InputError: it is not there, or describes no plain LoRA.
    """
    beside = file.parent / PEFT_FILE
    if not beside.is_file():
        raise InputError(
            f"a LoRA of PEFT must have {PEFT_FILE} beside it, which says its scale, but "
            f"{file.parent} has none; put it there"
        )
    fields = read_json(beside)
    kind = fields.get("peft_type", "LORA")
    if kind != "LORA":
        raise InputError(f"{beside} must describe a LoRA, but its peft_type is {kind!r:.40}")
    parse_config(fields, str(beside))
    # The rest is of PEFT and of the machine where it ran, and not what diffusers asks for.
    known = {name: fields[name] for name in AdapterConfig.model_fields if name in fields}
    return parse_config(known, str(beside))


def parse_config(fields: Mapping[str, Any], where: str) -> AdapterConfig:
    """Fields of a `LoraConfig`, checked; `where` is what errors call their place.

    Raises:
        InputError: a field cannot be, or asks for more than a LoRA.
    """
    try:
        config = AdapterConfig.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{where} must describe a LoRA, but {place}: {first['msg']}") from None
    more = [name for name in _MORE if fields.get(name)]
    if config.bias not in (None, "none"):
        more.append("bias")
    if more:
        raise InputError(
            f"{where} must describe a plain LoRA, but sets {more[0]}, which cannot be cut to a "
            "pruned UNet exactly; merge the adapter into the teacher and search with that"
        )
    return config


def write_header(
    metadata: Mapping[str, str], config: AdapterConfig | None, modules: Mapping[str, LoraModule]
) -> dict[str, str]:
    """The header of a cut file: what the old one said, with ranks and alphas by the new names.

    Hashes of the old tensors are left out. Without a `config` nothing is said of ranks.
    """
    kept = {name: text for name, text in metadata.items() if name not in _STALE}
    if config is None:
        return {**kept, "format": "pt"}
    ranks = {name: module.rank for name, module in modules.items()}
    alphas = {name: module.full_alpha for name, module in modules.items()}
    rank, alpha = _most_common(ranks), _most_common(alphas)
    fields = {
        **(config.model_extra or {}),
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{name}": one for name, one in ranks.items() if one != rank},
        "alpha_pattern": {f"^{name}": one for name, one in alphas.items() if one != alpha},
        "use_rslora": False,  # its root is in the alphas
        "bias": "none",
        "target_modules": sorted(modules),
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
    }
    old = _parse(metadata) if metadata.get(HEADER) else {}
    said = {name: one for name, one in old.items() if name.startswith(_TEXT)}
    said |= {f"{_UNET}{name}": one for name, one in fields.items()}
    return {**kept, HEADER: json.dumps(said, sort_keys=True), "format": "pt"}


def _parse(metadata: Mapping[str, str]) -> dict[str, Any]:
    found = parse_json(metadata[HEADER], f"the header {HEADER!r}")
    if not isinstance(found, dict):
        raise InputError(f"the header {HEADER!r} must be a JSON object, but it is {found!r:.40}")
    return found


def _first_match(patterns: Mapping[str, Value], module: str, default: Value) -> Value:
    """PEFT's rule: the first pattern that fits the module's name from its end on."""
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return default


def _most_common(found: Mapping[str, Value]) -> Value:
    return Counter(found.values()).most_common(1)[0][0]
