"""What is left of a LoRA against hand merges: the teacher's weights merged, then inherited."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sdsearch.adapters import cut_lora, cutting, read_lora, write_lora
from sdsearch.adapters.names import spell_name
from sdsearch.errors import InputError, WorkError
from sdsearch.unet import SLOTS, TINY, UNPRUNED, Architecture, student_path
from sdsearch.weights import choose_channels, inherit_weights
from tests.fakes import tiny_member
from tests.loras import FORMATS, load_stock, make_lora
from tests.unets import hard_members, lively_unet, random_wide_members, widened

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from tests.loras import Made

PAINTING = TINY.model_copy(update={"in_channels": 4})
NARROW = widened(tiny_member("bk-tiny"), (24, 48, 48, 48))
"""Blocks are gone and indices move, there is no mid block, and every level is narrower."""


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return dict(lively_unet(seed=4).state_dict())


def check_merge(
    made: Made, state: Mapping[str, torch.Tensor], arch: Architecture, folder: Path
) -> Path:
    """Stock diffusers makes of the cut file what inheriting the merged teacher makes."""
    kept: dict[str, np.ndarray] = choose_channels(arch, TINY, state)
    file = write_lora(made.save(folder / "brought"), arch, TINY, folder / "lora", kept)
    meant = inherit_weights(arch, TINY, made.merged(state), kept).state_dict()
    plain = inherit_weights(arch, TINY, state, kept)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    found = load_stock(plain, file)
    assert found.keys() == meant.keys()
    for name, tensor in meant.items():
        assert (found[name] - tensor).abs().max() <= 1e-6, name
    assert max((before[name] - meant[name]).abs().max() for name in meant) > 0.01
    return file


def some(name: str) -> bool:
    """A few layers of every kind, in blocks that are moved."""
    return name.startswith(("down_blocks.1", "up_blocks.2")) and name.endswith(
        ("attn2.to_v", "attn1.to_out.0", "net.2", "conv1", "time_emb_proj", "upsamplers.0.conv")
    )


@pytest.mark.parametrize("style", FORMATS)
def test_each_format_does_in_stock_diffusers_what_a_merge_by_hand_does(
    style: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    usual = {"kohya": "transformer_blocks", "processor": ".to_"}.get(style, "")
    made = make_lora(style, wanted=lambda name: some(name) and usual in name)
    check_merge(made, state, NARROW, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [UNPRUNED, NARROW, *hard_members()[1::4], *random_wide_members(6, seed=5)],
    ids=lambda arch: arch.key,
)
def test_every_layer_is_carried_to_students_of_all_kinds(
    arch: Architecture, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    for style in ("locon", "header"):
        check_merge(make_lora(style), state, arch, tmp_path / style)


def test_a_lora_of_four_channels_leaves_mask_and_masked_image_alone(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    made = make_lora("locon", PAINTING, wanted=lambda name: name == "conv_in")
    painting = {**state, "conv_in.weight": state["conv_in.weight"][:, :4]}
    file = check_merge(made, painting, NARROW, tmp_path)
    down = load_file(file)["lora_unet_conv_in.lora_down.weight"]
    assert down.shape[1] == 9
    assert down[:, 4:].abs().max() == 0


def test_an_alpha_that_stands_in_the_header_alone_is_carried(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    made = make_lora("header", wanted=lambda name: name.endswith("attn1.to_q"))
    file = check_merge(made, state, NARROW, tmp_path)
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    said = json.loads(header["lora_adapter_metadata"])
    assert header["author"] == "somebody"
    assert said["unet.lora_alpha"] / said["unet.r"] == 4
    kept = {name.removeprefix("unet.").partition(".lora_")[0] for name in load_file(file)}
    assert set(said["unet.target_modules"]) == kept
    named = [*said["unet.rank_pattern"], *said["unet.alpha_pattern"]]
    assert {name.removeprefix("^") for name in named} < kept


def test_the_unpruned_student_keeps_every_tensor_as_it_is(tmp_path: Path) -> None:
    for style in ("lora", "processor"):
        made = make_lora(style, wanted=lambda name: ".attn1.to_" in name)
        lora = read_lora(made.save(tmp_path / style), TINY)
        found = cut_lora(lora, UNPRUNED, TINY)
        assert found.dropped == {}
        assert found.tensors.keys() == made.tensors.keys()
        assert all(torch.equal(found.tensors[n], one) for n, one in made.tensors.items())


@pytest.mark.parametrize("arch", [tiny_member("bk-small"), hard_members()[5]])
def test_attentions_that_are_kept_keep_their_own_tensors_and_the_others_say_why_not(
    arch: Architecture, tmp_path: Path
) -> None:
    made = make_lora("lora", wanted=lambda name: name.endswith("attn1.to_q"))
    found = cut_lora(read_lora(made.save(tmp_path), TINY), arch, TINY)
    key = "transformer_blocks.0.attn1.to_q"
    for slot in SLOTS:
        if slot.kind != "attn":
            continue
        before = f"{student_path(slot, UNPRUNED)}.{key}"
        if slot.name in arch.kept_slots:
            name = f"unet.{student_path(slot, arch)}.{key}.lora.down.weight"
            assert torch.equal(found.tensors[name], made.tensors[f"unet.{before}.lora.down.weight"])
        else:
            gone = "its attention is off" if slot.name in arch.ghost_slots else "its block was"
            assert found.dropped[before].startswith(gone)
    assert len(found.tensors) == 2 * (len(made.deltas) - len(found.dropped))


@pytest.mark.parametrize("style", ["locon", "header"])
def test_no_half_of_a_module_is_left_for_a_narrower_student(style: str, tmp_path: Path) -> None:
    kept = choose_channels(NARROW, TINY, {}, "leading")
    found = cut_lora(read_lora(make_lora(style).save(tmp_path), TINY), NARROW, TINY, kept)
    names = [
        spell_name(module, side, one.style)
        for module, one in found.modules.items()
        for side in ("down", "up")
    ]
    assert max(Counter(names).values()) == 1
    assert set(names) == {name for name in found.tensors if not name.endswith(".alpha")}


def test_a_narrower_student_needs_the_channels_that_it_keeps(tmp_path: Path) -> None:
    lora = read_lora(make_lora("kohya", wanted=some).save(tmp_path), TINY)
    with pytest.raises(InputError, match="must be chosen, but none are"):
        cut_lora(lora, NARROW, TINY)


def test_a_lora_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    made = make_lora("kohya", wanted=lambda name: name.startswith("mid_block") and ".to_" in name)
    lora = read_lora(made.save(tmp_path), TINY)
    with pytest.raises(InputError, match="its block was removed"):
        cut_lora(lora, tiny_member("bk-small"), TINY)


def test_kohyas_alphas_are_one_for_all_since_stock_diffusers_reads_one(tmp_path: Path) -> None:
    made = make_lora("kohya", wanted=some)
    assert len({one.item() for name, one in made.tensors.items() if "alpha" in name}) > 1
    lora = read_lora(made.save(tmp_path), TINY)
    tensors = cut_lora(lora, UNPRUNED, TINY).tensors
    assert len({one.item() for name, one in tensors.items() if "alpha" in name}) == 1
    deltas = cut_lora(lora, UNPRUNED, TINY).modules
    for name, delta in made.deltas.items():
        if name in deltas:
            assert torch.allclose(deltas[name].delta(), delta, rtol=1e-6, atol=1e-7)


def test_ranks_as_alphas_are_left_out_and_no_tensor_is_touched(tmp_path: Path) -> None:
    made = make_lora("kohya", wanted=some)
    for name in list(made.tensors):
        if name.endswith(".alpha"):
            rank = len(made.tensors[name.replace("alpha", "lora_down.weight")])
            made.tensors[name] = torch.tensor(float(rank))
    tensors = cut_lora(read_lora(made.save(tmp_path), TINY), UNPRUNED, TINY).tensors
    pairs = {name for name in made.tensors if "alpha" not in name}
    assert tensors.keys() == pairs
    assert all(torch.equal(tensors[name], made.tensors[name]) for name in pairs)


def test_a_file_that_stock_diffusers_reads_otherwise_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "_with_one_alpha", dict)  # what files of kohya say themselves
    source = make_lora("kohya", wanted=some).save(tmp_path / "brought")
    with pytest.raises(WorkError, match="as a merge by hand does"):
        write_lora(source, UNPRUNED, TINY, tmp_path / "lora")
    assert list((tmp_path / "lora").iterdir()) == []
