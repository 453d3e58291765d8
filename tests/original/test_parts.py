"""Autoencoder and text encoder in the original layout: stock converters and ours read them back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from transformers import CLIPTextConfig, CLIPTextModel

from sdsearch.errors import InputError
from sdsearch.original import PREFIXES, Renaming, name_text, name_vae, read_text, read_vae
from sdsearch.weights.single_file import MovedTensors

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # noqa: TID251 (a stock module draws its own weights)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 16, 16),
            layers_per_block=2,
            norm_num_groups=4,
        )


@pytest.fixture(scope="module")
def encoder() -> CLIPTextModel:
    # diffusers' converter knows layers of 1024 channels alone.
    config = CLIPTextConfig(
        vocab_size=20,
        hidden_size=1024,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)  # noqa: TID251
        return CLIPTextModel(config)


def original(part: str, state: State, renaming: Renaming) -> State:
    moved = MovedTensors({PREFIXES[part] + m.original: (state, m) for m in renaming.moves})
    return dict(moved)


def back(part: str, tensors: State, renaming: Renaming) -> State:
    found: State = {}
    for move in renaming.moves:
        whole = tensors[PREFIXES[part] + move.original]
        for name, piece in zip(move.diffusers, whole.chunk(len(move.diffusers)), strict=True):
            found[name] = piece.flatten(1) if move.kernel else piece
    return found


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def bare(part: str, tensors: State) -> list[str]:
    return [name.removeprefix(PREFIXES[part]) for name in tensors]


def test_an_autoencoder_reads_back_bit_by_bit(vae: AutoencoderKL) -> None:
    state = vae.state_dict()
    written = original("vae", state, name_vae(state))
    assert same(back("vae", written, read_vae(bare("vae", written))), state)
    assert written["first_stage_model.decoder.mid.attn_1.q.weight"].shape == (16, 16, 1, 1)
    assert "first_stage_model.decoder.up.0.block.2.conv1.weight" in written


def test_the_converter_of_diffusers_reads_the_autoencoder(vae: AutoencoderKL) -> None:
    state = vae.state_dict()
    written = original("vae", state, name_vae(state))
    assert same(convert_ldm_vae_checkpoint(written, vae.config), state)


def test_an_autoencoder_of_an_older_diffusers_is_written_alike(vae: AutoencoderKL) -> None:
    state = vae.state_dict()
    was = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    older = {}
    for name, one in state.items():
        before = name
        for today, then in was.items():
            before = before.replace(f"attentions.0.{today}.", f"attentions.0.{then}.")
        older[before] = one
    assert older.keys() != state.keys()
    written = original("vae", older, name_vae(older))
    assert same(written, original("vae", state, name_vae(state)))


@pytest.mark.parametrize("open_clip", [False, True])
@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_text_encoder_reads_back_bit_by_bit(
    encoder: CLIPTextModel, prefix: str, *, open_clip: bool
) -> None:
    state = tower(encoder, prefix)
    written = original("text_encoder", state, name_text(state, open_clip=open_clip))
    found = back("text_encoder", written, read_text(bare("text_encoder", written)))
    assert same(found, tower(encoder, "text_model."))


@pytest.mark.parametrize("open_clip", [False, True])
def test_the_converters_of_diffusers_read_the_text_encoder(
    encoder: CLIPTextModel, *, open_clip: bool
) -> None:
    state = tower(encoder, "")
    written = original("text_encoder", state, name_text(state, open_clip=open_clip))
    found: Any = (
        convert_open_clip_checkpoint(encoder, written)
        if open_clip
        else convert_ldm_clip_checkpoint(written)
    )
    assert same({name.removeprefix("text_model."): one for name, one in found.items()}, state)


def test_what_no_painting_computes_with_is_left_away() -> None:
    others = ["model.text_projection", "model.logit_scale", "model.attn_mask"]
    last = "model.transformer.resblocks.23.ln_1.weight"
    first = "model.transformer.resblocks.0.ln_1.weight"
    found = read_text([*others, last, first], most_layers=23)
    assert [move.original for move in found.moves] == [first]
    assert name_text(["text_model.embeddings.position_ids"], open_clip=False).moves == ()


@pytest.mark.parametrize("name", ["transformer.text_model.encoder.layers.0.mlp.fc1.bias"])
def test_older_files_lack_a_module_in_the_middle(name: str) -> None:
    older = name.replace("text_model.", "")
    assert read_text([older]).moves[0].diffusers == read_text([name]).moves[0].diffusers


def test_strange_tensors_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="bottleneck"):
        name_vae(["encoder.bottleneck.weight"])
    with pytest.raises(InputError, match="vision"):
        name_text(["vision.weight"], open_clip=False)
    with pytest.raises(InputError, match="ln_9"):
        read_text(["model.transformer.resblocks.0.ln_9.weight"])


def tower(encoder: CLIPTextModel, prefix: str) -> State:
    """Its tensors with every module in front of the tower cut off, and `prefix` in its place."""
    return {
        prefix + name.removeprefix("text_model."): one
        for name, one in encoder.state_dict().items()
        if "position_ids" not in name
    }
