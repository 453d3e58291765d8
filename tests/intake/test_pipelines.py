"""Pipelines as they are in the wild: odd parts, sizes and names, and any JSON in their files."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import AutoencoderTiny
from hypothesis import given
from hypothesis import strategies as st

import sdsearch
from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.check.report import check_unet, report_text
from sdsearch.errors import InputError
from sdsearch.pipelines.folder import PARTS, list_files, locate_pipeline, open_pipeline
from sdsearch.unet.backbone import SD21, TINY
from sdsearch.unet.config import unet_config
from sdsearch.unet.teacher import teacher_backbone
from sdsearch_eval.models.teacher import load_teacher
from tests.intake.layouts import CPU, TINY_SD, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def test_a_tokenizer_without_a_length_takes_that_of_the_encoder(
    folder: Path, expected: list[Tensor]
) -> None:
    file = folder / "tokenizer" / "tokenizer_config.json"
    said = json.loads(file.read_text())
    del said["model_max_length"]
    file.write_text(json.dumps(said))
    teacher = load_teacher(open_pipeline(str(folder)), CPU)
    assert torch.equal(teacher.encode_text(["a red house"]), expected[0])


def test_a_tiny_autoencoder_paints_as_in_the_stock_pipeline(folder: Path) -> None:
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        scaling_factor=0.5,
    )
    shutil.rmtree(folder / "vae")
    vae.save_pretrained(folder / "vae")
    listed(vae=["diffusers", "AutoencoderTiny"])(folder)
    teacher = load_teacher(open_pipeline(str(folder)), CPU)
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        meant = vae.eval().encode(image).latents * 0.5
        decoded = vae.decode(meant / 0.5).sample
    latents = teacher.encode_images(image)
    assert teacher.latent_factor == 4
    assert torch.allclose(latents, meant, atol=1e-5)
    assert torch.allclose(teacher.decode_latents(latents), decoded, atol=1e-5)


def test_costs_are_those_of_the_unets_own_size_which_is_printed(tmp_path: Path) -> None:
    small = sdsearch.Architecture.parse("bk-small")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(unet_config(small, SD21)))
    report = check_unet(file)
    at_96 = sdsearch.unet_cost(small, SD21)
    assert report.costs is not None
    assert report.costs.latent_size == 96
    assert report.costs.macs_conv_linear == at_96.macs.conv_linear
    assert "at 96 x 96 latents" in report_text(report)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=5) | st.dictionaries(st.text(max_size=8), one)
)
ENTRIES = st.fixed_dictionaries(
    {"_class_name": st.text(max_size=8) | JSON},
    optional={name: JSON | st.lists(st.text(max_size=8), min_size=2, max_size=2) for name in PARTS},
)
KNOWN = json.loads((TINY_SD / "unet" / "config.json").read_text())
SMALL = st.integers(-1, 3) | st.lists(st.integers(0, 3), max_size=5) | st.booleans()
CHANGES = st.dictionaries(st.sampled_from(sorted(KNOWN)), JSON | SMALL, max_size=4)


def accepts_or_refuses(*calls: Callable[[], object]) -> None:
    for call in calls:
        with contextlib.suppress(InputError):
            call()


@pytest.mark.fuzz
@given(JSON | ENTRIES)
def test_any_json_as_index_is_read_or_refused(folder: Path, index: Any) -> None:
    (folder / "model_index.json").write_text(json.dumps(index))
    where = str(folder)
    accepts_or_refuses(lambda: list_files(open_pipeline(where)), lambda: check_unet(where))


@pytest.mark.fuzz
@given(JSON | CHANGES.map(lambda changes: KNOWN | changes))
def test_any_json_as_unet_config_is_read_or_refused(tmp_path: Path, said: Any) -> None:
    (tmp_path / "unet").mkdir(exist_ok=True)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "unet" / "config.json").write_text(json.dumps(said))
    accepts_or_refuses(
        lambda: teacher_backbone(str(tmp_path)),
        lambda: report_text(check_unet(tmp_path / "unet" / "config.json")),
        lambda: report_text(check_unet(tmp_path / "unet" / "config.json", against="tiny")),
    )


def test_a_config_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="readable JSON"):
        check_unet(tmp_path)


def test_the_tiny_config_is_known() -> None:
    assert teacher_backbone(str(TINY_SD)) == TINY


def test_the_tiny_teacher_does_not_hide_a_pipeline_in_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert locate_pipeline("tiny") == asset_path(TINY_TEACHER)
    (tmp_path / "tiny" / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"'tiny' is the teacher .* write '\./tiny' for the"):
        locate_pipeline("tiny")
    assert locate_pipeline("./tiny") == Path("tiny")
