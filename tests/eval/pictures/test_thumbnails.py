from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import HarnessError
from sdsearch.labels.costs import read_costs
from sdsearch.stages.export import add_thumbnails
from sdsearch.study.requests import ThumbnailsRequest
from sdsearch_eval.data.samples import load_samples
from sdsearch_eval.jobs import pictures as job
from sdsearch_eval.pictures import thumbnails
from tests.fakes import make_study

TOML = "[protocol]\nsamples = 3\nsteps = 1\nthreads = 1\n"


@pytest.fixture
def study(tmp_path):
    made = make_study(tmp_path / "study", TOML)
    shutil.copytree(asset_path(TINY_TEACHER), made.pipelines_dir / "autobuild-1")
    return made


def test_each_thumbnail_shows_a_hole_and_what_was_painted_into_it(study):
    job.add_thumbnails(ThumbnailsRequest(study=study.root, designs=("autobuild-1",)))
    folder = study.pipelines_dir / "autobuild-1" / "thumbnails"
    files = sorted(path.name for path in folder.iterdir())
    assert files == ["scene-1.webp", "scene-2.webp", "scene-3.webp"]
    with Image.open(folder / "scene-1.webp") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (64, 2 * 64 + thumbnails.GAP, 3)
    masked, painted = pixels[:, :64], pixels[:, -64:]
    changed = np.abs(masked - painted).max(-1) > 40
    grey = (np.abs(masked - 127).max(-1) < 12) & (np.ptp(masked, axis=-1) < 12)
    assert changed.mean() > 0.02
    assert grey[changed].mean() > 0.8, "only the hole differs"


def test_what_a_picture_costs_is_measured_beside_the_teacher_and_stays(study):
    request = ThumbnailsRequest(study=study.root, designs=("autobuild-1",))
    job.add_thumbnails(request)
    file = study.pipelines_dir / "autobuild-1" / "costs.json"
    first = file.read_text()
    costs = read_costs(file)
    assert [cost.name for cost in costs] == ["autobuild-1", "teacher"]
    assert [cost.picture.steps for cost in costs] == [1, 1]
    assert str(study.root) not in first
    job.add_thumbnails(request)
    assert file.read_text() == first


def test_a_crop_is_shown_in_the_pixels_of_its_photo(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.effect_noise((300, 200), 60).save(tmp_path / "photos" / f"{number}.png")
    toml = (
        f'{TOML}dataset = "{tmp_path / "photos"}"\nmasks = "box"\ncrop = "hole"\n'
        "crop_padding = 8\nrecovery = { steps = 0 }\n"
    )
    study = make_study(tmp_path / "study", toml)
    shutil.copytree(asset_path(TINY_TEACHER), study.pipelines_dir / "autobuild-1")
    job.add_thumbnails(ThumbnailsRequest(study=study.root, designs=("autobuild-1",)))
    samples = load_samples(study.config.protocol)
    for number, sample in enumerate(samples, 1):
        height, width = sample.hole.shape
        assert 66 <= width <= 200
        file = study.pipelines_dir / "autobuild-1" / "thumbnails" / f"scene-{number}.webp"
        with Image.open(file) as picture:
            assert picture.size == (2 * width + thumbnails.GAP, height)


def test_a_failure_leaves_no_folder_behind(study, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no more memory")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        job.add_thumbnails(ThumbnailsRequest(study=study.root, designs=("autobuild-1",)))
    assert not list((study.pipelines_dir / "autobuild-1").glob("*thumbnails*"))


def test_an_export_without_pictures_is_still_an_export(study, monkeypatch, capsys):
    asked = []

    def refuse(request):
        asked.append(request)
        raise HarnessError("thumbnails", 2)

    monkeypatch.setattr("sdsearch.stages.export.run_harness", refuse)
    folder = study.pipelines_dir / "autobuild-1"
    add_thumbnails(study, [folder])
    assert "have no thumbnails" in capsys.readouterr().err
    (folder / "thumbnails").mkdir()
    (folder / "costs.json").touch()
    add_thumbnails(study, [folder])
    assert asked == [ThumbnailsRequest(study=study.root, designs=("autobuild-1",))]
