from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.space.budget import Budget
from sdsearch.study.config import StudyConfig
from sdsearch.study.folder import StudyFolder, load_space, read_study
from sdsearch.study.recipes import SMALL

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str) -> Path:
    (folder / "study.toml").write_text(text)
    return folder


def test_the_template_of_a_new_study_says_the_defaults_and_the_protocol_of_its_world(
    tmp_path: Path,
) -> None:
    config = read_study(write(tmp_path, SMALL)).config
    default = StudyConfig()
    protocol = Protocol(masks="thick", samples=96, guidance=2.0, threads=1)
    assert config == default.model_copy(update={"protocol": protocol})


def test_an_empty_file_means_all_defaults(tmp_path: Path) -> None:
    assert read_study(write(tmp_path, "")).config == StudyConfig()


def test_the_label_seed_is_outside_of_the_protocol_key(tmp_path: Path) -> None:
    config = read_study(write(tmp_path, "[protocol]\nseed = 3\n")).config
    assert config.seed == 3
    assert config.protocol == StudyConfig().protocol
    study = read_study(tmp_path)
    path = study.recovered_file("abc")
    assert path.name == f"abc-{study.protocol_key}-s3.safetensors"


def test_a_bare_budget_is_absolute(tmp_path: Path) -> None:
    config = read_study(write(tmp_path, "[build]\nbudget = { params = 3_000_000 }\n")).config
    assert config.build.budget == Budget(params=3_000_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[teacher]\npipelin = 'tiny'\n", r"'pipelin' in \[teacher\].*'pipeline'"),
        ("[protcol]\nsteps = 3\n", "'protcol' at the top.*'protocol'"),
        ("[protocol]\nsed = 3\n", r"'sed' in \[protocol\].*'seed'"),
        ("[protocol.recovery]\nstep = 3\n", r"'step' in \[protocol.recovery\].*'steps'"),
        ("[protocol.recovery]\nlosses = {ouput = 1}\n", r"protocol.recovery.losses\].*'output'"),
        ("[build]\nbudget = { params = { shar = 0.5 } }\n", "'shar'.*'share'"),
        ("[build]\nbudget = { parms = 3 }\n", r"'parms' in \[build.budget\].*'params'"),
        ("[build]\nmethods = ['autobuilt']\n", "did you mean 'autobuild'"),
        ("[build]\nmethods = 'autobuild'\n", 'methods are "auto" or a list of names'),
        ("[build]\nmethods = 3\n", 'methods are "auto" or a list of names'),
        ("[protocol]\nsteps = 'ten'\n", r"'steps' in \[protocol\] is 'ten'"),
        ("[protocol]\nseed = -1\n", r"'seed' in \[protocol\] is -1"),
        ("protocol = 3\n", "'protocol' at the top"),
        ("seed = 3\n", r"\[protocol\]"),
        ("[ranker]\ntarget = 'log.__class__'\n", "__class__"),
        ("[ranker]\nkind = 'oracle'\n", "oracle"),
        ("[teacher\n", "valid TOML"),
    ],
)
def test_a_mistake_names_its_section_and_the_nearest_key(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_study(write(tmp_path, text))


def test_an_unknown_space_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tiny"):
        load_space(read_study(write(tmp_path, "[space]\nname = 'tini'\n")))


def test_a_missing_study_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sdsearch init"):
        read_study(tmp_path / "none")


def test_the_space_has_the_backbone_of_a_local_teacher(tmp_path: Path) -> None:
    from sdsearch.space.space import search_space
    from sdsearch.unet.backbone import TINY
    from sdsearch.unet.config import unet_config

    teacher = tmp_path / "teacher"
    (teacher / "unet").mkdir(parents=True)
    (teacher / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    config = unet_config(search_space("tiny").members["teacher"], TINY)
    (teacher / "unet" / "config.json").write_text(json.dumps({**config, "in_channels": 4}))
    study = read_study(
        write(tmp_path, f"[teacher]\npipeline = {str(teacher)!r}\n[space]\nname = 'sd14'\n")
    )
    assert load_space(study).backbone.in_channels == 4
    assert load_space(study).backbone.block_out_channels == TINY.block_out_channels
    (teacher / "unet" / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json"):
        _ = load_space(study)


def test_no_property_of_a_study_reads_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_study(write(tmp_path, "[build]\nlatency_table = 'table.json'\n"))
    names = [name for name, kind in vars(StudyFolder).items() if isinstance(kind, property)]
    assert {"series", "labels", "claims_dir", "designs_file"} <= set(names)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a property must not touch files")

    for name in ("open", "stat", "lstat", "listdir", "scandir"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    for name in names:
        getattr(study, name)


def test_a_study_at_another_seed_has_other_labels_and_the_same_protocol(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, ""))
    other = study.at_seed(7)
    assert other.series.seed == 7
    assert other.series.protocol_key == study.series.protocol_key
    assert other.claims_dir != study.claims_dir
    assert other.recovered_file("a") != study.recovered_file("a")
