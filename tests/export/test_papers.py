"""What an export says of itself: the card, its licence, and no place on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save

from sdsearch.export.papers import model_card, renew_card
from sdsearch.export.recovered import read_source
from sdsearch.study.config import ReportConfig
from sdsearch.unet.teacher import teacher_identity
from sdsearch.weights.notes import write_noted
from tests.export.exports import edit, export_now, save_weights
from tests.fakes import (
    make_study,
    measured,
    tiny_member,
)
from tests.labels.test_costs import PICTURE

if TYPE_CHECKING:
    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder


def test_the_card_says_what_a_picture_costs_once_it_is_measured(
    study: StudyFolder, design: Design
) -> None:
    folder, teacher = export_now(design, study), study.config.teacher.pipeline
    assert "| A whole picture | - | - | - |" in (folder / "README.md").read_text()
    columns = [
        {"name": name, "picture": {**PICTURE, "seconds": seconds}}
        for name, seconds in (("autobuild-1", 0.3), ("teacher", 0.4))
    ]
    (folder / "costs.json").write_text(json.dumps({"columns": columns}))
    renew_card(design, study, teacher_identity(teacher))
    card = (folder / "README.md").read_text()
    assert "| A UNet call | - | - | - |" in card
    assert "| A whole picture (a CPU) | 0.3 s (IQR 0.012) | 0.4 s (IQR 0.012) | 75.0% |" in card
    assert "| Memory of a whole picture (a CPU) | 61 MB | 61 MB | 100.0% |" in card
    assert "Measured with one picture of 64 px" in card
    stamp = (folder / "README.md").stat().st_mtime_ns
    renew_card(design, study, teacher_identity(teacher))
    assert (folder / "README.md").stat().st_mtime_ns == stamp
    assert export_now(design, study) == folder
    assert (folder / "costs.json").exists(), "a renewed card is no reason to export again"


def test_the_card_says_what_was_removed_measured_and_how_to_load(
    study: StudyFolder, design: Design
) -> None:
    source = read_source(design, study, "teacher")
    card = model_card(source)
    assert "`mid.attn.0`" in card
    assert "| fd_efflite0 | 212.5 ± 3 | - | 256 |" in card
    assert "from_pretrained(" in card
    assert "license: creativeml-openrail-m" in card
    assert study.protocol_key in card
    assert "level0: d1; 1 of 40 by effect" in card
    assert "Nothing yet" in model_card(replace(source, label=None))


def test_the_card_shows_published_values_beside_its_own_and_an_export_follows_them(
    study: StudyFolder, design: Design, tmp_path: Path
) -> None:
    source, file = read_source(design, study, "teacher"), tmp_path / "mine.toml"
    told = (
        'about = "a"\ntarget = "-fd_efflite0"\nbring = {}\n[protocol]\nsamples = 192\n'
        '[published]\nsource = "Somebody"\ncaveat = "others"\n'
        '[[published.rows]]\nname = "theirs"\n'
    )
    keys = {source.key}
    for value in (180.0, 181.0):
        file.write_text(f"{told}values = {{ fd_efflite0 = {value}, seam = 0.5 }}\n")
        config = study.config.model_copy(update={"report": ReportConfig(preset=str(file))})
        asked = read_source(design, replace(study, config=config), "teacher")
        card = model_card(asked)
        assert "| autobuild-1 | measured | 212.5 ± 3 | - |\n| theirs | published |" in card
        assert f"| theirs | published | {value:.4g} | 0.5 |\n\nPublished by Somebody" in card
        keys.add(asked.key)
    assert len(keys) == 3
    other = study.config.protocol.model_copy(update={"samples": 64})
    config = config.model_copy(update={"protocol": other})
    assert "Beside" not in model_card(replace(source, study=replace(study, config=config)))


def test_only_the_official_weights_make_a_card_speak_of_an_official_fid(
    study: StudyFolder, design: Design
) -> None:
    source = read_source(design, study, "teacher")
    assert "none is an official FID" in model_card(source)
    official = study.config.protocol.model_copy(update={"extractor": "fid"})
    config = study.config.model_copy(update={"protocol": official})
    assert "official FID" not in model_card(replace(source, study=replace(study, config=config)))


def test_the_card_of_crops_says_how_to_paint_them(tmp_path: Path, design: Design) -> None:
    cards = []
    for number, crop in enumerate(('crop = "whole"', 'crop = "hole"\ncrop_padding = 48')):
        made = make_study(tmp_path / str(number), f"[protocol]\n{crop}\n")
        cards.append(model_card(read_source(design, made, "teacher")))
    assert "padding_mask_crop" not in cards[0]
    assert "padding_mask_crop=48,\n    height=64" in cards[1]
    assert "each hole with 48 pixels around it" in cards[1]


def test_no_file_of_an_export_names_a_place_on_this_machine(
    own_study: StudyFolder, design: Design, tmp_path: Path
) -> None:
    teacher = tmp_path / "own" / "teacher"
    for name in ("vae", "unet", "text_encoder", "safety_checker"):
        edit(teacher / name / "config.json", _name_or_path=str(teacher / name))
    edit(teacher / "model_index.json", _name_or_path=str(teacher))
    edit(teacher / "tokenizer" / "tokenizer_config.json", name_or_path=str(teacher / "tokenizer"))
    edit(teacher / "scheduler" / "scheduler_config.json", _name_or_path=str(Path.home()))
    weights = own_study.recovered_file(design.arch_key)
    said = {"format": "pt", "from": str(tmp_path)}
    write_noted(weights, save(load_file(weights), said), "a test")
    provenance = {"protocol": {"dataset": str(tmp_path / "photos")}, "versions": {}}
    label = measured(tiny_member("bk-tiny"), 212.5)
    own_study.labels.write(label.model_copy(update={"provenance": provenance}))
    folder = export_now(design, own_study)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    for place in (str(tmp_path), str(Path.home()), str(Path.cwd())):
        assert [file for file in files if place.encode() in file.read_bytes()] == []
    said = json.loads((folder / "provenance.json").read_text())
    assert said["teacher"] == "teacher"
    assert said["teacher_identity"] == teacher_identity(str(teacher))
    assert "Specialized from `teacher` with" in (folder / "README.md").read_text()


def test_papers_name_photos_and_extractors_without_their_place(
    design: Design, tmp_path: Path, teacher: Path
) -> None:
    fields = {"dataset": "photos", "masks": "holes", "extractor": "nets/clip"}
    said = {name: str(tmp_path / place) for name, place in fields.items()}
    toml = "".join(
        f"{name} = {('clip:' if name == 'extractor' else '') + place!r}\n"
        for name, place in said.items()
    )
    other = make_study(
        tmp_path / "other", f"[teacher]\npipeline = {str(teacher)!r}\n[protocol]\n{toml}"
    )
    save_weights(other, teacher)
    folder = export_now(design, other)
    card = (folder / "README.md").read_text()
    assert "dataset `photos`, masks `holes`" in card
    protocol = json.loads((folder / "provenance.json").read_text())["protocol"]
    assert protocol["extractor"] == "clip:clip"
    assert str(tmp_path) not in card + json.dumps(protocol)
