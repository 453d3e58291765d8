"""Labels are named by what their files hold, whatever the files are called."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from sdsearch.errors import InputError
from sdsearch.keys import content_key
from sdsearch.labels.label import LabelKey
from sdsearch.stages.sample import sample_study
from sdsearch.study import opening
from sdsearch.study.folder import read_study
from sdsearch.study.requests import AdoptRequest, ResolveRequest
from sdsearch_eval.bench.content import decoded_manifest
from sdsearch_eval.jobs import workspace as job
from tests.eval.desk import ask, label_all
from tests.fakes import make_study

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder
    from sdsearch.study.requests import HarnessRequest

TOML = """
[space]
labels = 2
[protocol]
dataset = {dataset!r}
masks = {masks!r}
samples = 4
block_size = 4
steps = 2
threads = 1
feature_size = 32
recovery = {{ steps = 1, batch_size = 1 }}
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(7):
        pixels = rng.integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def write_study(place: Path, dataset: Path | str, masks: str = "box") -> StudyFolder:
    return make_study(place, TOML.format(dataset=str(dataset), masks=masks))


def resolve(study: StudyFolder) -> StudyFolder:
    assert ask(ResolveRequest(study=study.root), study.root) == 0
    return read_study(study.root)


def test_a_dataset_that_moves_leaves_the_key_and_one_that_changes_does_not(
    dataset: Path, tmp_path: Path
) -> None:
    first = resolve(write_study(tmp_path / "one", dataset))
    assert first.resolved.is_read
    moved = tmp_path / "disk" / "pictures"
    shutil.copytree(dataset, moved)
    assert resolve(write_study(tmp_path / "two", f"{moved}/")).series == first.series
    shutil.copy(moved / "0.png", moved / "3.png")
    changed = resolve(read_study(tmp_path / "two"))
    assert changed.series != first.series
    pool = dataset / "4.png"  # not evaluated: recovery learns from it
    pool.write_bytes((dataset / "0.png").read_bytes())
    assert resolve(first).resolved.content.photos == first.resolved.content.photos
    assert resolve(first).series != first.series


@pytest.mark.parametrize("change", ["caption", "mask", "name", "unused"])
def test_captions_masks_and_names_that_are_used_are_content(
    dataset: Path, tmp_path: Path, change: str
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    hole = np.zeros((64, 64), np.uint8)
    hole[16:32, 16:32] = 255
    for photo in dataset.iterdir():
        Image.fromarray(hole).save(masks / photo.name)
    study = write_study(tmp_path / "study", dataset, str(masks))
    before = resolve(study).resolved
    if change == "caption":
        (dataset / "metadata.jsonl").write_text('{"file_name": "1.png", "text": "a lake"}\n')
    elif change == "mask":
        Image.fromarray(hole.T.copy()[::-1]).save(masks / "1.png")
    elif change == "name":
        for folder in (dataset, masks):
            (folder / "1.png").rename(folder / "11.png")
    else:
        shutil.copy(masks / "1.png", masks / "9.png")  # there is no such photo
        (dataset / "notes.txt").write_text("taken in May")
    after = resolve(study).resolved
    assert (after.key == before.key) == (change == "unused")


def test_a_study_whose_files_are_in_no_key_is_not_read_at_all(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    assert opening.open_study(study) is study


def test_labels_named_by_a_path_are_adopted_once_and_keep_their_values(
    dataset: Path, tmp_path: Path, teacher: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "load_teacher", lambda *_: teacher)
    monkeypatch.setattr(opening, "run_harness", in_this_process)
    study = opening.open_study(write_study(tmp_path / "study", dataset))
    sample_study(study)
    key = sample_study(study).keys_from("sample")[0]
    label_all(study, key)
    new = study.labels.read(LabelKey(key, study.series))
    old = as_it_was(study, new)
    study.labels.remove(new.key)
    study.labels.write(old)
    with pytest.raises(InputError, match=r"1 in .*adopt"):
        opening.open_study(read_study(study.root))
    adopted = opening.adopt_labels(read_study(study.root))
    assert adopted.series == study.series
    assert [label.key for label in adopted.labels.read_all()] == [new.key]
    assert adopted.labels.read(new.key).values == new.values
    assert opening.open_study(adopted) == adopted
    clipped = {**new.provenance["sampling"]["scheduler_config"], "clip_sample": True}
    for other in ({"manifest_sha256": "f" * 64}, {"sampling": {"scheduler_config": clipped}}):
        foreign = old.model_copy(update={"provenance": {**old.provenance, **other}})
        study.labels.write(foreign)
        opening.adopt_labels(adopted)
        assert foreign.key in [label.key for label in study.labels.read_all()]


def as_it_was(study: StudyFolder, label):
    """The same label under the key of its paths, with what labels recorded then."""
    protocol = study.config.protocol
    key = content_key({**protocol.model_dump(mode="json"), "strength": 1.0})
    known = {k: v for k, v in label.provenance.items() if k != "protocol"}
    known["manifest_sha256"] = decoded_manifest(protocol)
    return label.model_copy(update={"protocol_key": key, "provenance": known})


def in_this_process(request: HarnessRequest) -> None:
    assert isinstance(request, AdoptRequest | ResolveRequest)
    assert ask(request, request.study) == 0
