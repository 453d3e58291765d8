"""The card of an export, as the hub and a reader take it: data, numbers, pictures and a snippet."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image

from sdsearch.assets import asset_path
from sdsearch.drawing import draw_unet
from sdsearch.export.card import address_card, describe_size, front_matter, read_beside
from sdsearch.export.inventory import list_own_files, read_inventory, record_files
from sdsearch.export.papers import model_card, renew_card
from sdsearch.export.recovered import read_source
from sdsearch.pipelines.licence import HUB_LICENCES, Licence
from sdsearch.study.folder import load_space
from sdsearch.unet.teacher import teacher_identity
from tests.export.exports import export_now, take_snippet
from tests.fakes import make_study, measured, tiny_member
from tests.labels.test_costs import CALL, PICTURE

if TYPE_CHECKING:
    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder

KEYS = {
    *("base_model", "base_model_relation", "library_name", "license", "license_link"),
    *("license_name", "model-index", "pipeline_tag", "tags"),
}
"""Those of the hub's specification that a card of ours may have."""
TASKS = {"image-to-image", "text-to-image"}


def read_card(text: str) -> ModelCardData:
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    return data


def test_the_front_matter_has_the_keys_and_values_that_the_hub_knows(
    study: StudyFolder, design: Design
) -> None:
    text = model_card(read_source(design, study, "teacher"))
    data = read_card(text)
    said = data.to_dict()
    assert said.keys() <= KEYS
    assert said["license"] in HUB_LICENCES
    assert said["pipeline_tag"] in TASKS
    assert (said["library_name"], said["pipeline_tag"]) == ("diffusers", "image-to-image")
    assert said["tags"] == ["stable-diffusion", "inpainting", "pruned", "sdsearch"]
    assert "base_model" not in said, "a folder is no model that others have"
    assert str(ModelCard(text)).strip() == text.strip(), "the hub's own writer would write the same"


def test_the_model_index_is_what_was_measured_and_goes_round(
    study: StudyFolder, design: Design
) -> None:
    data = read_card(model_card(read_source(design, study, "teacher")))
    assert data.eval_results is not None
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("fd_efflite0", 212.5)
    assert result.metric_args == {"standard_error": 3.0, "n": 256, "better": "lower"}
    assert str(result.metric_name).startswith("Fréchet distance to the originals")
    assert (result.task_type, result.task_name) == ("image-to-image", "inpainting")
    assert result.dataset_args is not None
    assert result.dataset_args["protocol"] == study.protocol_key
    assert data.model_name == design.name
    again = read_card(f"---\n{data.to_yaml()}\n---\n")
    assert again.eval_results == data.eval_results
    bare = replace(read_source(design, study, "teacher"), label=None)
    assert "model-index" not in read_card(model_card(bare)).to_dict()


def test_a_hub_id_is_the_base_model_and_words_are_a_task_of_their_own() -> None:
    licence = Licence("creativeml-openrail-m", is_stated=True, text=None)
    front = front_matter("a", "owner/model", licence, words=True, tags=())
    said = read_card(f"---\n{front}\n---\n").to_dict()
    assert said.keys() <= KEYS
    assert (said["base_model"], said["base_model_relation"]) == ("owner/model", "finetune")
    assert (said["pipeline_tag"], said["tags"][1]) == ("text-to-image", "text-to-image")


def test_an_unknown_licence_is_other_with_its_name_and_file(
    own_study: StudyFolder, design: Design
) -> None:
    teacher = Path(own_study.config.teacher.pipeline)
    (teacher / "README.md").write_text("---\nlicense: house-rules-1\n---\n")
    (teacher / "LICENSE").write_text("Be kind.\n")
    folder = export_now(design, own_study)
    said = read_card((folder / "README.md").read_text()).to_dict()
    assert said["license"] == "other"
    assert (said["license_name"], said["license_link"]) == ("house-rules-1", "LICENSE")
    assert (folder / "LICENSE").read_text() == "Be kind.\n"
    assert "LICENSE" in read_inventory(folder)


def test_a_licence_without_its_text_is_said_to_be_missing(
    own_study: StudyFolder, design: Design
) -> None:
    teacher = Path(own_study.config.teacher.pipeline)
    (teacher / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    folder = export_now(design, own_study)
    assert "put it here before you pass the weights on" in (folder / "LICENSE").read_text()
    assert "Its text did not come with the teacher" in (folder / "README.md").read_text()


def test_the_teachers_values_stand_beside_the_students(study: StudyFolder, design: Design) -> None:
    card = model_card(read_source(design, study, "teacher"))
    assert "| fd_efflite0 | 212.5 ± 3 | - | 256 |" in card
    assert "Both were measured" not in card
    study.labels.write(measured(tiny_member("teacher"), 180.0, 2.0))
    source = read_source(design, study, "teacher")
    assert "| fd_efflite0 | 212.5 ± 3 | 180 ± 2 | 256 |" in model_card(source)
    assert "Both were measured in one series" in model_card(source)
    assert [one.metric_value for one in read_card(model_card(source)).eval_results or ()] == [212.5]


def test_pictures_are_files_of_the_export_and_latency_names_its_device(
    study: StudyFolder, design: Design
) -> None:
    folder, teacher = export_now(design, study), study.config.teacher.pipeline
    card = folder / "README.md"
    backbone = load_space(study).backbone
    drawn = draw_unet(design.architecture, backbone, title=design.name)
    assert (folder / "unet.svg").read_text() == drawn
    assert "What it paints" not in card.read_text()
    (folder / "thumbnails").mkdir()
    for number in (1, 2):
        Image.new("RGB", (8, 4)).save(folder / "thumbnails" / f"scene-{number}.webp")
    columns = [{"name": name, "latency_ms": CALL, "picture": PICTURE} for name in ("a", "teacher")]
    (folder / "costs.json").write_text(json.dumps({"columns": columns}))
    record_files(folder, list_own_files(folder))
    renew_card(design, study, teacher_identity(teacher))
    links = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", card.read_text())
    assert links == ["unet.svg", "thumbnails/scene-1.webp", "thumbnails/scene-2.webp"]
    assert set(links) <= read_inventory(folder).keys()
    assert "| A UNet call (a CPU) | 12.3 ms (IQR 0.5) |" in card.read_text()
    assert "| A whole picture (a CPU) | 0.457 s (IQR 0.012) |" in card.read_text()


def test_the_sizes_of_a_card_are_those_of_the_files(study: StudyFolder, design: Design) -> None:
    folder = export_now(design, study)
    text = (folder / "README.md").read_text()
    unet = folder / "unet" / "diffusion_pytorch_model.safetensors"
    half = unet.with_name("diffusion_pytorch_model.fp16.safetensors")
    every = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    sizes = read_beside(folder).sizes
    assert sizes is not None
    assert sizes[:2] == (unet.stat().st_size, half.stat().st_size)
    assert sizes[2] + sizes[3] == every
    assert f"Weights of the UNet are {describe_size(sizes[0])}, as" in text


@pytest.mark.parametrize("protocol", ["", 'crop = "hole"\ncrop_padding = 8\n'])
def test_the_snippet_runs_as_it_is_pasted(
    study: StudyFolder,
    design: Design,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: str,
) -> None:
    folder = export_now(design, study)
    other = make_study(tmp_path / "other", f"[protocol]\nsteps = 2\n{protocol}")
    card = model_card(replace(read_source(design, study, "teacher"), study=other))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exec(take_snippet(card), {})  # noqa: S102 (the card's own words are what is tested)
    with Image.open(folder / "painted.png") as painted:
        assert painted.size == (64, 64)
        assert len(set(painted.convert("L").tobytes())) > 1


def test_the_snippet_of_a_model_that_paints_from_words_runs_too(
    design: Design, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = asset_path("worlds/words-16")
    toml = f'[teacher]\npipeline = "{teacher}"\n[protocol]\ntask = "text-to-image"\nsteps = 2\n'
    card = model_card(read_source(design, make_study(tmp_path / "study", toml), "teacher"))
    code = take_snippet(card)
    assert "from_pretrained(here)" in code
    assert "mask" not in code
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    exec(take_snippet(address_card(card, str(teacher))), {})  # noqa: S102 (as above)
    with Image.open(tmp_path / "painted.png") as painted:
        assert painted.size == (64, 64)


def test_what_belongs_to_an_export_can_be_read_by_others(
    study: StudyFolder, design: Design
) -> None:
    before = os.umask(0o077)
    try:
        folder = export_now(design, study)
    finally:
        os.umask(before)
    listed = [folder / name for name in read_inventory(folder)]
    assert len(listed) > 15
    for path in (folder, folder / "files.json", *listed, *(file.parent for file in listed)):
        wanted = 0o555 if path.is_dir() else 0o444
        assert path.stat().st_mode & wanted == wanted, path
