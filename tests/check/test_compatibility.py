"""What works with a UNet, held against stock diffusers doing it, and against its real modules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import ControlNetModel
from torch import nn

from sdsearch.adapters.cutting import cut_lora
from sdsearch.adapters.reading import read_lora
from sdsearch.check.attachments import (
    attention_channels,
    judge_controlnet,
    judge_ip_adapter,
    judge_lora,
    skip_channels,
)
from sdsearch.check.compatibility import judge_compatibility
from sdsearch.check.report import check_unet, report_text
from sdsearch.unet.architecture import Architecture
from sdsearch.unet.backbone import SD14, TINY
from sdsearch.unet.config import unet_config
from sdsearch.weights.inherit import make_unet
from tests.loras import make_lora
from tests.unet.test_config_reader import BK_FOUR
from tests.unets import (
    GRADED,
    TEACHER,
    hard_members,
    inputs,
    random_members,
    random_unet,
    random_wide_members,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.check.verdict import Verdict
    from sdsearch.unet.backbone import Backbone

META = torch.device("meta")
MEMBERS = [*hard_members()[2:6], *random_members(2, seed=5), *random_wide_members(2, 6, GRADED)]
NO_MID = Architecture.parse("mid none")
NARROW = Architecture.parse("widths 32/64/64/64")
NO_CROSS = Architecture.parse(
    "level 0: attention down 00 up 000; level 1: attention down 00 up 000; "
    "level 2: attention down 00 up 000; mid none"
)


def judge(arch: Architecture, backbone: Backbone = GRADED) -> dict[str, Verdict]:
    return judge_compatibility(unet_config(arch, backbone), arch, backbone)


def fit(arch: Architecture, backbone: Backbone = GRADED) -> dict[str, Verdict]:
    """What was made for the teacher alone, which asks for no call."""
    config = unet_config(arch, backbone)
    return {
        "ControlNet": judge_controlnet(config, backbone),
        "IP-Adapter": judge_ip_adapter(config, arch, backbone),
        "LoRA": judge_lora(arch, backbone),
    }


def adapter(unet: Any) -> dict[str, Any]:
    """An IP-Adapter that was trained beside a UNet, as its files are."""
    wide = unet.config.cross_attention_dim
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            channels = unet.get_submodule(name.removesuffix(".processor")).to_q.in_features
            for one in ("k", "v"):
                key = f"{number}.to_{one}_ip.weight"
                tensors[key] = torch.randn(channels, wide, generator=generator)
    return {
        "image_proj": {
            "proj.weight": torch.randn(4 * wide, 8, generator=generator),
            "proj.bias": torch.zeros(4 * wide),
            "norm.weight": torch.ones(wide),
            "norm.bias": torch.zeros(wide),
        },
        "ip_adapter": tensors,
    }


@pytest.mark.parametrize("arch", MEMBERS, ids=lambda arch: arch.key)
def test_skips_and_attentions_are_counted_as_diffusers_builds_them(arch: Architecture) -> None:
    unet, config = make_unet(arch, GRADED, META), unet_config(arch, GRADED)
    modules = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
    found = [unet.get_submodule(name).to_q.in_features for name in modules]
    assert attention_channels(config) == found
    skips = [unet.conv_in.out_channels]
    for block in unet.down_blocks:
        skips += [one.out_channels for one in (*block.resnets, *(block.downsamplers or ()))]
    assert skip_channels(config) == skips


def test_each_verdict_names_what_says_so(tmp_path: Path) -> None:
    for arch in (TEACHER, NO_MID, NO_CROSS):
        for verdict in judge(arch).values():
            assert verdict.basis.startswith(("rule: ", "run: ", "count "))
            assert verdict.basis
    random_unet(NO_MID).save_pretrained(tmp_path)
    said = report_text(check_unet(tmp_path, "tiny"))
    assert "does not DeepCache: there is no mid block" in said
    assert "(run: DeepCache 0.1.1" in said


@pytest.mark.parametrize(
    ("arch", "status", "why"),
    [
        (TEACHER, "works", "all 12 skip residuals"),
        (NO_MID, "works", "all 12 skip residuals"),
        (
            NARROW,
            "does not",
            "skip residual 8 of a ControlNet has 96 channels, this UNet's skip 64",
        ),
        (Architecture.parse("bk-small"), "does not", "this UNet takes 8"),
    ],
)
def test_a_controlnet_works_where_stock_diffusers_adds_its_residuals(
    arch: Architecture, status: str, why: str
) -> None:
    found = fit(arch)["ControlNet"]
    assert (found.status, why in found.why) == (status, True), found
    config = unet_config(TEACHER, GRADED) | {"layers_per_block": 2}
    control = ControlNetModel.from_unet(make_unet(TEACHER, GRADED).from_config(config))
    latent, step, prompt = inputs(GRADED)
    downs, mid = control(latent, step, prompt, torch.zeros(1, 3, 128, 128), return_dict=False)
    assert len(downs) == 12
    unet = random_unet(arch, GRADED)
    more = {"down_block_additional_residuals": downs, "mid_block_additional_residual": mid}
    with torch.no_grad():
        if status == "works":
            assert unet(latent, step, prompt, **more).sample.shape == (1, 4, 16, 16)
        else:
            with pytest.raises(RuntimeError, match="must match the size"):
                unet(latent, step, prompt, **more)


@pytest.mark.parametrize(
    ("arch", "status", "why"),
    [
        (TEACHER, "works", "all 16 cross-attentions"),
        (NARROW, "does not", "cross-attention 5 has 96 channels, this UNet's 64: a size mismatch"),
        (NO_MID, "partly", "15 cross-attentions are there, in order and as wide; the last 1 went"),
    ],
)
def test_an_ip_adapter_works_where_stock_diffusers_loads_it(
    arch: Architecture, status: str, why: str
) -> None:
    found = fit(arch)["IP-Adapter"]
    assert (found.status, why in found.why) == (status, True), found
    made, unet = adapter(random_unet(TEACHER, GRADED)), random_unet(arch, GRADED)
    if status == "does not":
        with pytest.raises((ValueError, RuntimeError)):
            unet._load_ip_adapter_weights([made])
        return
    unet._load_ip_adapter_weights([made])
    places = [name for name in unet.attn_processors if "attn2" in name]
    assert (
        places
        == [n for n in random_unet(TEACHER, GRADED).attn_processors if "attn2" in n][: len(places)]
    ), "the same places have the same numbers"
    latent, step, prompt = inputs(GRADED)
    more = {"image_embeds": [torch.zeros(1, 1, 8)]}
    with torch.no_grad():
        assert unet(latent, step, prompt, added_cond_kwargs=more).sample.isfinite().all()


def test_an_ip_adapter_that_fits_by_chance_alone_is_refused() -> None:
    # Attention 2 of level 0 is gone, that of level 1 is as wide as it was: all shapes can fit.
    arch = Architecture.parse("level 0: attention down 10")
    same = TINY.with_widths((32, 32, 32, 32))
    unet = random_unet(arch, same)
    unet._load_ip_adapter_weights([adapter(random_unet(TEACHER, same))])  # without a word
    found = fit(arch, same)["IP-Adapter"]
    assert found.status == "does not"
    assert "this UNet has 15" in found.why


@pytest.mark.parametrize("words", ["bk-small", "mid none", "level 1: depth 1; mid resnet"])
def test_a_lora_verdict_counts_what_the_export_keeps(words: str, tmp_path: Path) -> None:
    arch = Architecture.parse(words)
    lora = read_lora(make_lora("header").save(tmp_path), TINY)
    cut = cut_lora(lora, arch, TINY)
    kept = [name for name in cut.modules if ".attn1.to_" in name or ".attn2.to_" in name]
    found = fit(arch, TINY)["LoRA"]
    assert f"keeps {2 * len(kept)} of the 256 tensors" in found.why
    assert "provenance.json" not in found.why


def test_a_lora_for_a_narrower_student_is_cut_and_not_refused() -> None:
    found = fit(NARROW)["LoRA"]
    assert found.status == "partly"
    assert "keeps 256 of the 256 tensors of its attentions, 96 of them cut narrower" in found.why
    assert fit(TEACHER)["LoRA"].status == "works"


def test_deepcache_needs_the_mid_block_that_it_wraps() -> None:
    for arch in (TEACHER, NO_MID):
        has_mid = make_unet(arch, GRADED, META).mid_block is not None
        assert (judge(arch)["DeepCache"].status == "works") == has_mid


def test_tomesd_merges_where_there_is_attention_at_level_0() -> None:
    assert judge(TEACHER)["tomesd"].status == "works"
    deeper = Architecture.parse("level 0: attention down 00 up 000")
    assert judge(deeper, TINY)["tomesd"].status == "partly"
    assert judge(NO_CROSS, TINY)["tomesd"].status == "does not"


def test_torchao_is_told_by_the_share_of_linear_layers() -> None:
    found = judge(TEACHER, SD14)["torchao"].why
    assert "31% of all: 1,719.0 MB in half precision become 1,449.0" in found
    unet = make_unet(NO_CROSS, TINY)
    linear = sum(one.weight.numel() for one in unet.modules() if isinstance(one, nn.Linear))
    assert f"{linear / unet.num_parameters():.0%} of all" in judge(NO_CROSS, TINY)["torchao"].why


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"num_class_embeds": 4}, "class_labels"),
        (
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 64,
            },
            "NoneType",
        ),
        ({"encoder_hid_dim_type": "image_proj", "encoder_hid_dim": 8}, "NoneType"),
    ],
)
def test_onnx_can_be_a_no(changes: dict[str, Any], said: str | None, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(BK_FOUR | changes))
    found = check_unet(file).compatibility["ONNX"]
    assert found.status == ("works" if said is None else "does not")
    assert said is None or said in found.why, found.why


def test_nothing_is_known_to_fit_where_the_teacher_is_not_known() -> None:
    config = unet_config(TEACHER, TINY)
    for name, verdict in judge_compatibility(config, None).items():
        if name.endswith("of the teacher"):
            assert "its teacher is not known" in verdict.why
