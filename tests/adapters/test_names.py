from __future__ import annotations

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from sdsearch.adapters.families import guess_family
from sdsearch.adapters.names import (
    check_algorithm,
    flat_names,
    original_name,
    parse_name,
    spell_name,
)
from sdsearch.errors import InputError
from sdsearch.unet import TINY, UNPRUNED, unet_config
from tests.loras import changeable, spelled

MODULES = list(changeable())
PROJECTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"


def test_original_names_of_all_modules_are_those_that_diffusers_reads_in_a_checkpoint() -> None:
    marked = {
        f"{original_name(name)}.{part}": torch.full((1, 1, 1, 1), float(number))
        for number, name in enumerate(MODULES)
        for part in ("weight", "bias")
    }
    assert len(marked) == 2 * len(MODULES)
    found = convert_ldm_unet_checkpoint(
        {f"model.diffusion_model.{name}": tensor for name, tensor in marked.items()},
        {**unet_config(UNPRUNED, TINY), "layers_per_block": 2},
    )
    for number, name in enumerate(MODULES):
        assert found[f"{name}.weight"].flatten().tolist() == [number], name


@pytest.mark.parametrize(
    ("original", "module"),
    [
        ("input_blocks_0_0", "conv_in"),
        ("input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"),
        ("input_blocks_4_0_skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
        ("middle_block_2_out_layers_3", "mid_block.resnets.1.conv2"),
        ("output_blocks_2_1_conv", "up_blocks.0.upsamplers.0.conv"),
        ("output_blocks_8_2_conv", "up_blocks.2.upsamplers.0.conv"),
        ("output_blocks_11_1_proj_out", "up_blocks.3.attentions.2.proj_out"),
        ("time_embed_2", "time_embedding.linear_2"),
    ],
)
def test_kohyas_names_in_the_original_models_words_are_read(original: str, module: str) -> None:
    found = parse_name(f"lora_unet_{original}.lora_up.weight", flat_names(MODULES))
    assert found is not None
    assert (found.module, found.side, found.style) == (module, "up", "kohya")


def test_no_two_modules_have_one_name_in_kohyas_files() -> None:
    assert len(flat_names(MODULES)) == 2 * len(MODULES) - sum(
        original_name(name) == name for name in MODULES
    )


@pytest.mark.parametrize("style", ["kohya", "processor", "lora", "peft"])
def test_a_name_is_spelled_as_it_was_read(style: str) -> None:
    flat, one = flat_names(MODULES), torch.zeros(1)
    modules = [PROJECTION, PROJECTION.replace("to_out.0", "to_q")]
    modules += [] if style == "processor" else ["conv_in", "time_embedding.linear_1"]
    for module in modules:
        for key in spelled(style, module, one, one, 1.0):
            name = parse_name(key, flat)
            assert name is not None
            assert name.module == module
            prefix = key.replace("base_model.model.", "unet.")
            assert spell_name(name.module, name.side, name.style) == prefix


@pytest.mark.parametrize("prefix", ["unet.", ""])
def test_processors_are_read_with_and_without_a_part_in_front(prefix: str) -> None:
    key = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight"
    found = parse_name(prefix + key, {})
    assert found is not None
    assert found.module == PROJECTION


@pytest.mark.parametrize(
    ("tail", "algorithm"),
    [
        ("hada_w1_a", "LoHa"),
        ("lokr_w1", "LoKr"),
        ("dora_scale", "DoRA"),
        ("lora_magnitude_vector", "DoRA"),
        ("lora_magnitude_vector.weight", "DoRA"),
        ("oft_blocks", "OFT"),
        ("diff", "whole differences"),
        ("diff_b", "whole differences"),
        ("on_input", "IA3"),
        ("lora_B.bias", "biases"),
    ],
)
def test_other_algorithms_are_refused_by_their_names(tail: str, algorithm: str) -> None:
    with pytest.raises(InputError, match=algorithm):
        check_algorithm(f"lora_unet_mid_block_attentions_0_proj_in.{tail}")


@pytest.mark.parametrize(
    ("key", "family"),
    [
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha", "Stable Diffusion XL"),
        ("unet.add_embedding.linear_1.lora_A.weight", "Stable Diffusion XL"),
        ("lora_unet_double_blocks_0_img_attn_qkv.alpha", "Flux"),
        ("transformer.transformer_blocks.3.attn.to_q.lora_A.weight", "diffusion transformer"),
        ("unet.conv_in.lora_A.weight", None),
    ],
)
def test_names_tell_the_family(key: str, family: str | None) -> None:
    found = guess_family([key])
    assert found is None if family is None else found is not None and family in found
