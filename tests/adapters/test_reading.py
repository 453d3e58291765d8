from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from sdsearch.adapters import cut_lora, read_lora
from sdsearch.errors import InputError
from sdsearch.unet import TINY, UNPRUNED
from tests.loras import FORMATS, changeable, make_lora, spelled

if TYPE_CHECKING:
    from pathlib import Path

QUERY = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
FLAT = QUERY.replace(".", "_")


def few(name: str) -> bool:
    return name.startswith(("mid_block.attentions", "up_blocks.2.attentions.1"))


def one(**changed: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A LoRA of kohya on one module; None leaves a tensor out."""
    outputs, inputs = changeable()[QUERY]
    pair = {"lora_down.weight": torch.ones(2, inputs), "lora_up.weight": torch.ones(outputs, 2)}
    meant = {**pair, **{name.replace("__", "."): tensor for name, tensor in changed.items()}}
    return {f"lora_unet_{FLAT}.{n}": tensor for n, tensor in meant.items() if tensor is not None}


def saved(tensors: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file(tensors, folder / "a.safetensors")
    return folder / "a.safetensors"


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_says_what_it_adds_to_each_weight(style: str, tmp_path: Path) -> None:
    made = make_lora(style, wanted=lambda name: few(name) and ".to_" in name)
    found = read_lora(made.save(tmp_path), TINY)
    assert found.modules.keys() == made.deltas.keys()
    assert found.strange == {}
    for name, module in found.modules.items():
        assert torch.allclose(module.delta(), made.deltas[name], rtol=1e-6, atol=1e-7), name


def test_a_convolution_in_three_parts_is_read_as_two_that_do_the_same(tmp_path: Path) -> None:
    name = "mid_block.resnets.0.conv1"
    outputs, inputs, *_ = changeable()[name]
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(3, inputs, 1, 1, generator=generator)
    mid = torch.randn(3, 3, 3, 3, generator=generator)
    up = torch.randn(outputs, 3, 1, 1, generator=generator)
    tensors = spelled("locon", name, down, up, 6.0)
    tensors[f"lora_unet_{name.replace('.', '_')}.lora_mid.weight"] = mid
    module = read_lora(saved(tensors, tmp_path), TINY).modules[name]
    image = torch.randn(1, inputs, 5, 5, generator=generator, dtype=torch.float64)
    conv = torch.nn.functional.conv2d
    three = conv(conv(conv(image, down.double()), mid.double(), padding=1), up.double())
    found = conv(image, module.delta().double(), padding=1)
    assert torch.allclose(found, 2 * three, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("side", ["lora_down__weight", "lora_up__weight"])
def test_half_a_module_is_refused(side: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"lacks '{side.split('_')[1]}'"):
        read_lora(saved(one(**{side: None}), tmp_path), TINY)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_an_alpha_that_is_no_positive_number_is_refused(alpha: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one positive number"):
        read_lora(saved(one(alpha=torch.tensor(alpha)), tmp_path), TINY)


def test_matrices_without_a_rank_in_common_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one rank in common"):
        read_lora(saved(one(lora_up__weight=torch.ones(96, 3)), tmp_path), TINY)


def test_an_sdxl_lora_is_refused_and_called_that(tmp_path: Path) -> None:
    places = ["lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q"]
    places += ["lora_unet_middle_block_1_transformer_blocks_9_ff_net_2"]
    tensors = {
        f"{place}.{side}.weight": torch.ones(4, 4)
        for place in places
        for side in ("lora_down", "lora_up")
    }
    with pytest.raises(InputError, match="seems to be for Stable Diffusion XL"):
        read_lora(saved(tensors, tmp_path), TINY)
    second = {"lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(1.0)}
    with pytest.raises(InputError, match=r"second text encoder; it seems to be for .* XL"):
        read_lora(saved({**one(), **second}, tmp_path), TINY)


@pytest.mark.parametrize(
    ("width", "family"), [(768, "1.x"), (1024, "2.x"), (2048, "XL"), (512, None)]
)
def test_a_lora_that_reads_text_of_another_width_is_refused_whatever_else_fits(
    width: int, family: str | None, tmp_path: Path
) -> None:
    key = FLAT.replace("attn1_to_q", "attn2_to_k")
    other = {
        f"lora_unet_{key}.lora_down.weight": torch.ones(2, width),
        f"lora_unet_{key}.lora_up.weight": torch.ones(96, 2),
    }
    with pytest.raises(InputError, match=f"text of {width} channels") as refused:
        read_lora(saved({**one(), **other}, tmp_path), TINY)
    assert ("seems to be for" in str(refused.value)) == (family is not None)
    assert family is None or family in str(refused.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight", "text encoder alone"),
        ("transformer.single_transformer_blocks.0.proj_out.lora_A.weight", "be for Flux"),
        ("model.weight", "no tensor of a UNet"),
    ],
)
def test_a_file_without_a_tensor_of_a_unet_is_refused(
    name: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        read_lora(saved({name: torch.ones(2, 2)}, tmp_path), TINY)


def test_tensors_that_no_loader_takes_and_mixed_styles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'bundle_emb\.a'"):
        read_lora(saved({**one(), "bundle_emb.a": torch.ones(1)}, tmp_path), TINY)
    other = spelled("peft", QUERY.replace("to_q", "to_v"), torch.ones(2, 96), torch.ones(96, 2), 1)
    with pytest.raises(InputError, match="one style"):
        read_lora(saved({**one(), **other}, tmp_path), TINY)
    original = {
        key.replace("mid_block_attentions_0", "middle_block_1"): tensor
        for key, tensor in one().items()
    }
    bare = {"mid_block.attentions.0.proj_in.lora_A.weight": torch.ones(2, 96)}
    nested = {"unet.mid_block.attentions.0.proj_out.lora_A.weight": torch.ones(2, 96)}
    with pytest.raises(InputError, match="one style"):
        read_lora(saved({**bare, **nested}, tmp_path), TINY)
    with pytest.raises(InputError, match="change a module once"):
        read_lora(saved({**one(), **original}, tmp_path), TINY)


def test_modules_that_are_none_of_the_teachers_are_told(tmp_path: Path) -> None:
    tensors = one()
    for name, inputs in (("mid_block_attentions_7_proj_in", 96), ("conv_out", 5)):
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.ones(2, inputs)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.ones(96, 2)
    found = read_lora(saved(tensors, tmp_path), TINY)
    assert list(found.modules) == [QUERY]
    assert found.strange["mid_block_attentions_7_proj_in"] == "the teacher has no such module"
    assert "made for a weight of 96 x 5" in found.strange["conv_out"]


def test_ranks_other_than_the_header_says_are_refused(tmp_path: Path) -> None:
    made = make_lora("header", wanted=few)
    made.header["lora_adapter_metadata"] = made.header["lora_adapter_metadata"].replace(
        '"unet.r": 2', '"unet.r": 4'
    )
    with pytest.raises(InputError, match="of the ranks that it says"):
        read_lora(made.save(tmp_path), TINY)


def test_two_places_that_say_alpha_are_refused(tmp_path: Path) -> None:
    made = make_lora("kohya", wanted=few)
    made.header = make_lora("header", wanted=few).header
    with pytest.raises(InputError, match="said in one place"):
        read_lora(made.save(tmp_path), TINY)


def test_a_file_without_a_part_in_front_says_alpha_without_one_too(tmp_path: Path) -> None:
    made = make_lora("header", wanted=few)  # as diffusers' save_lora_adapter leaves it
    made.tensors = {name.removeprefix("unet."): one for name, one in made.tensors.items()}
    made.header = {name: text.replace('"unet.', '"') for name, text in made.header.items()}
    found = read_lora(made.save(tmp_path), TINY)
    assert found.modules.keys() == made.deltas.keys()
    for name, module in found.modules.items():
        assert torch.allclose(module.delta(), made.deltas[name], rtol=1e-6, atol=1e-7), name
    said = json.loads(cut_lora(found, UNPRUNED, TINY).metadata["lora_adapter_metadata"])
    assert {name.partition(".")[0] for name in said} == {"unet"}


def test_pefts_own_file_must_say_the_scale_and_be_a_loras(tmp_path: Path) -> None:
    made = make_lora("peft", wanted=few)
    said, made.beside = made.beside, {}
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        read_lora(made.save(tmp_path / "alone"), TINY)
    made.beside = {**said, "peft_type": "LOHA"}
    with pytest.raises(InputError, match="LOHA"):
        read_lora(made.save(tmp_path / "other"), TINY)
