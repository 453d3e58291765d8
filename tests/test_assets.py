from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from sdsearch.api import create_study
from sdsearch.assets import TINY_DESIGNS, TINY_TABLE, TINY_TEACHER, asset_path
from sdsearch.errors import InputError
from sdsearch.labels.store import read_label_table
from sdsearch.labels.target import Target
from sdsearch.pipelines import open_pipeline
from sdsearch.replay.world import WORLDS, read_world
from sdsearch.report.noise import measure_noise
from sdsearch.space.space import search_space
from sdsearch.stages import sample_study
from sdsearch.unet.backbone import TINY, Backbone
from sdsearch.unet.cost import count_params
from sdsearch.unet.teacher import teacher_sha256

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.labels.label import Label
    from sdsearch.study import StudyFolder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    return create_study(tmp_path_factory.mktemp("assets") / "study").folder


@pytest.fixture(scope="module", params=[TINY_TABLE, TINY_DESIGNS])
def table(request: pytest.FixtureRequest, study: StudyFolder) -> list[Label]:
    labels = read_label_table(asset_path(request.param))
    return [label for label in labels if label.protocol_key == study.protocol_key]


def test_an_unknown_asset_names_the_places_that_were_searched() -> None:
    with pytest.raises(InputError, match=r"_assets/no-such.*assets/no-such"):
        asset_path("no-such")


def test_the_tiny_pipeline_has_the_tiny_backbone() -> None:
    config = UNet2DConditionModel.load_config(asset_path(TINY_TEACHER) / "unet")
    assert Backbone.from_config(dict(config)) == TINY


def test_loaders_of_before_find_the_names_that_they_look_for() -> None:
    folder = asset_path(TINY_TEACHER)
    model = json.loads((folder / "tokenizer" / "tokenizer.json").read_text("utf-8"))["model"]
    assert json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8")) == model["vocab"]
    version, *merges = (folder / "tokenizer" / "merges.txt").read_text("utf-8").splitlines()
    assert version == "#version: 0.2"
    assert [merge.split() for merge in merges] == model["merges"]
    names = load_file(folder / "text_encoder" / "model.safetensors").keys()
    assert all(name.startswith("text_model.") for name in names)


def test_a_text_encoder_says_the_same_under_the_names_of_before_and_of_today(
    tmp_path: Path,
) -> None:
    folder = asset_path(TINY_TEACHER) / "text_encoder"
    state = load_file(folder / "model.safetensors")
    tokens = torch.arange(32)[None]
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    bare = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    save_file(bare, tmp_path / "model.safetensors", {"format": "pt"})
    then, today = (CLIPTextModel.from_pretrained(place)(tokens)[0] for place in (folder, tmp_path))
    assert torch.equal(then, today)


def test_the_shipped_labels_are_of_a_studys_own_protocol_and_the_shipped_teacher(
    table: list[Label],
) -> None:
    assert len(table) > 68
    hashes = {label.provenance["teacher_sha256"] for label in table}
    assert hashes == {teacher_sha256(open_pipeline("tiny"))}
    space = search_space("tiny")
    for label in table:
        assert label.status == "ok"
        assert label.values["params"] == count_params(label.architecture, TINY)
        assert space.why_not(label.architecture) is None


def test_all_that_a_study_samples_by_default_is_labelled(study: StudyFolder) -> None:
    sampled = set(sample_study(study).keys_from("sample", "member"))
    labels = read_label_table(asset_path(TINY_DESIGNS))
    measured = {x.arch_key for x in labels if x.key.series == study.series}
    assert sampled <= measured
    assert len(sampled) >= 68


def test_in_the_column_of_their_world_shipped_labels_are_spread_five_times_wider_than_their_noise(
    table: list[Label],
) -> None:
    seeds = Counter(label.arch_key for label in table)
    assert sum(count >= 3 for count in seeds.values()) >= 8
    members = {arch.key for arch in search_space("tiny").members.values()}
    evaluated = [label for label in table if label.seed == 0 and label.arch_key not in members]
    column = read_world(WORLDS[0]).column
    noise = measure_noise(table, evaluated, column, Target(f"-log({column})"))
    assert noise is not None
    assert noise.of_target is not None
    assert noise.target_spread is not None
    assert noise.of_target.source == "seeds"
    assert noise.target_spread >= 5 * max(map(noise.of_target.at, noise.targets))
