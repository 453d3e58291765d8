from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from sdsearch.adapters.header import HEADER, parse_config, read_header, write_header
from sdsearch.adapters.modules import LoraModule
from sdsearch.errors import InputError
from sdsearch.unet import TINY, UNPRUNED
from sdsearch.weights import make_unet

UNET = "unet."
CONV, QUERY = "conv_in", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
KEY = QUERY.replace("to_q", "to_k")


def header(**fields: object) -> dict[str, str]:
    return {HEADER: json.dumps({f"unet.{name}": value for name, value in fields.items()})}


def module(rank: int, alpha: float | None) -> LoraModule:
    return LoraModule(torch.zeros(rank, 3), torch.zeros(3, rank), alpha, "peft")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"r": 4, "lora_alpha": 16},
        {"r": 4, "lora_alpha": 16, "rank_pattern": {"to_q": 2}, "alpha_pattern": {"attn1.to_k": 1}},
        {"rank_pattern": {f"^{QUERY}": 3, "to_q": 5}, "use_rslora": True},
        {"alpha_pattern": {"attentions.0.transformer_blocks.0.attn1.to_q": 2.5}, "r": 16},
    ],
)
def test_rank_and_scale_are_those_that_peft_gives(fields: dict[str, object]) -> None:
    config = parse_config(fields, "it")
    unet = make_unet(UNPRUNED, TINY, torch.device("meta"))
    targets = [CONV, QUERY, KEY]
    inject_adapter_in_model(LoraConfig(**fields, target_modules=targets), unet)
    for name in targets:
        layer = unet.get_submodule(name)
        assert config.rank_of(name) == layer.r["default"]
        scale = config.alpha_of(name) / config.rank_of(name)
        assert scale == pytest.approx(layer.scaling["default"], rel=1e-12)


def test_ranks_and_alphas_are_written_by_the_new_names_and_the_rest_is_kept() -> None:
    old = header(r=2, lora_alpha=8, rank_pattern={"^a": 3}, lora_dropout=0.1, target_modules=["a"])
    old |= {"author": "somebody", "sshs_model_hash": "of the old tensors"}
    fields = json.loads(old[HEADER]) | {"text_encoder.r": 4}
    old[HEADER] = json.dumps(fields)
    modules = {"x.1": module(2, 8), "x.0": module(2, 8), "y": module(3, 1)}
    new = write_header(old, read_header(old, UNET), modules)
    said = json.loads(new[HEADER])
    assert new["author"] == "somebody"
    assert "sshs_model_hash" not in new
    assert said["text_encoder.r"] == 4
    assert said["unet.lora_dropout"] == 0.1
    assert said["unet.target_modules"] == ["x.0", "x.1", "y"]
    assert (said["unet.r"], said["unet.rank_pattern"]) == (2, {"^y": 3})
    assert (said["unet.lora_alpha"], said["unet.alpha_pattern"]) == (8, {"^y": 1})
    again = read_header(new, UNET)
    assert again is not None
    assert [again.alpha_of(name) for name in modules] == [8, 8, 1]


def test_a_header_of_the_text_encoder_alone_gives_the_unet_pefts_defaults() -> None:
    found = read_header({HEADER: json.dumps({"text_encoder.r": 4})}, UNET)
    assert found is not None
    assert (found.rank_of(CONV), found.alpha_of(CONV)) == (8, 8)
    assert read_header({"author": "somebody"}, UNET) is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["conv_in"]}, "modules_to_save"),
        ({"r": 0}, "greater than or equal to 1"),
        ({"lora_alpha": -1}, "greater than 0"),
        ({"rank_pattern": {"(a+)+$": 4}}, "only names of modules"),
    ],
)
def test_what_is_no_plain_lora_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_header(header(**fields), UNET)


@pytest.mark.parametrize("said", ["[]", "{", "3"])
def test_a_header_that_is_no_object_is_refused(said: str) -> None:
    with pytest.raises(InputError, match=HEADER):
        read_header({HEADER: said}, UNET)
