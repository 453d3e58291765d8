from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdsearch.adapters import proof, write_lora
from sdsearch.errors import InputError, WorkError
from sdsearch.stages import add_lora
from sdsearch.unet import TINY
from sdsearch.weights import choose_channels, provenance_document
from tests.fakes import make_study, tiny_member
from tests.loras import make_lora
from tests.unets import widened

if TYPE_CHECKING:
    from pathlib import Path

SMALL = tiny_member("bk-small")


def first_query(name: str) -> bool:
    return name.startswith(("down_blocks.0", "mid_block")) and name.endswith("attn1.to_q")


def test_tensors_of_the_text_encoder_pass_and_what_went_is_listed(tmp_path: Path) -> None:
    made = make_lora("kohya", wanted=first_query)
    text = {
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.rand(2, 8),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.rand(8, 2),
        "lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": torch.tensor(1.5),
    }
    made.tensors |= text
    file = write_lora(made.save(tmp_path), SMALL, TINY, tmp_path / "lora")
    found = load_file(file)
    assert all(torch.equal(found[name], one) for name, one in text.items())
    listing = json.loads(file.with_suffix(".json").read_text())
    mid = next(name for name in made.deltas if name.startswith("mid_block"))
    assert listing["dropped"] == {
        **dict.fromkeys(made.deltas.keys() - set(listing["kept"]), "its block was removed"),
        mid: "its block was removed",
    }
    assert listing["text_encoder"] == 3
    assert listing["difference"] <= 1e-5
    assert len(found) == 3 * len(listing["kept"]) + 3


def test_without_peft_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_lora("kohya", wanted=first_query).save(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install peft"):
        write_lora(source, SMALL, TINY, tmp_path / "lora")
    assert not (tmp_path / "lora").exists()


def test_a_file_that_stock_diffusers_refuses_gets_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(keys: object) -> None:
        raise ValueError("as stock diffusers would")

    monkeypatch.setattr(proof, "_check_keys", refuse)
    source = make_lora("kohya", wanted=first_query).save(tmp_path)
    with pytest.raises(WorkError, match="as stock diffusers would"):
        write_lora(source, SMALL, TINY, tmp_path / "lora")
    assert list((tmp_path / "lora").iterdir()) == []


def test_modules_that_stock_diffusers_leaves_out_are_noticed(tmp_path: Path) -> None:
    made = make_lora("kohya", wanted=first_query)
    # One name of another kind, and it takes none of kohya's for such.
    made.tensors["text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight"] = torch.ones(1)
    with pytest.raises(WorkError, match="is not changed"):
        write_lora(made.save(tmp_path), SMALL, TINY, tmp_path / "lora")


def test_the_file_that_was_brought_is_not_replaced(tmp_path: Path) -> None:
    source = make_lora("kohya", wanted=first_query).save(tmp_path)
    before = source.read_bytes()
    with pytest.raises(InputError, match="bring the one of the teacher"):
        write_lora(source, SMALL, TINY, tmp_path)
    assert source.read_bytes() == before


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="no readable safetensors file"):
        write_lora(tmp_path / "broken.safetensors", SMALL, TINY, tmp_path / "out")


def test_beside_an_export_it_is_cut_by_the_channels_that_the_export_keeps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path / "study")
    arch = widened(SMALL, (24, 48, 48, 48))
    kept = choose_channels(arch, TINY, {}, "leading")
    folder = tmp_path / "export"
    folder.mkdir()
    said = {"architecture": arch.model_dump(mode="json")}
    (folder / "design.json").write_text(json.dumps(said))
    inherited = {"inheritance": provenance_document(arch, TINY, kept)}
    (folder / "provenance.json").write_text(json.dumps(inherited))
    made = make_lora("peft", wanted=first_query)
    file = add_lora(folder, made.save(tmp_path), study)
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    channels = kept["down.0.attn.0.inner"]
    down = made.tensors[f"base_model.model.{name}.lora_A.weight"]
    assert torch.equal(load_file(file)[f"unet.{name}.lora_A.weight"], down[:, channels])
    assert "modules are left" in capsys.readouterr().err
    recorded = json.loads((folder / "files.json").read_text())["files"]
    assert {"lora/style.safetensors", "lora/style.json"} <= recorded.keys()


def test_a_lora_of_another_model_is_no_export_with_nothing_in_it(tmp_path: Path) -> None:
    names = ("lora_unet_output_blocks_0_1_transformer_blocks_9_attn1_to_q.lora_down.weight",)
    names += (names[0].replace("lora_down", "lora_up"),)
    save_file({name: torch.ones(4, 4) for name in names}, tmp_path / "xl.safetensors")
    with pytest.raises(InputError, match="seems to be for Stable Diffusion XL"):
        write_lora(tmp_path / "xl.safetensors", SMALL, TINY, tmp_path / "lora")
