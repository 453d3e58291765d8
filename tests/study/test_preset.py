"""Presets: benchmarks as data, those that come with sdsearch and a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.assets import preset_files
from sdsearch.errors import InputError
from sdsearch.labels.label import Measurement
from sdsearch.labels.protocol import Protocol
from sdsearch.study.config import StudyConfig
from sdsearch.study.preset import Preset, preset_settings, read_preset, set_beside

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

OWN = """\
about = "scenes of ours"
target = "-log(fd_efflite0)"

[protocol]
samples = 64
steps = 4

[bring]
images = "our scenes"

[published]
source = "Somebody (2024)"
caveat = "other scenes"

[published.factors]
seam = 100

[[published.rows]]
name = "theirs"
values = { fd_efflite0 = 12.5, seam = 0.0312 }
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    return file


def config_of(name: str, **protocol: Any) -> StudyConfig:
    """A study as the preset fills it in, but for some fields of its protocol."""
    said = preset_settings(name)
    return StudyConfig.model_validate({**said, "protocol": {**said["protocol"], **protocol}})


def test_the_presets_that_come_along_are_these() -> None:
    assert list(preset_files()) == ["brushbench", "coco-30k", "places2"]


@pytest.mark.parametrize("name", preset_files())
def test_a_preset_that_comes_along_can_be_read_and_says_what_it_needs(name: str) -> None:
    preset = read_preset(name)
    assert preset.find_lacking({}) == preset.bring
    assert "images" in preset.bring
    paints = preset.protocol["task"] == "text-to-image"
    assert ("masks" in preset.bring) is not paints
    assert config_of(name).report.preset == name
    assert preset.find_departure(config_of(name).protocol) is None


def test_what_a_protocol_names_is_not_lacking() -> None:
    preset = read_preset("coco-30k")
    said = {"dataset": "photos", "references": "real_im256.npz"}
    assert list(preset.find_lacking(said)) == ["prompts"]


def test_published_values_and_measured_ones_are_on_one_scale() -> None:
    measured = {
        "bk-small": {"fid": Measurement(value=20.5, se=0.25, n=30_000), "clip_score": 26.0},
        "autobuild-1": {"fid": Measurement(value=19.25, n=30_000)},
    }
    beside = set_beside(config_of("coco-30k"), measured)
    assert beside is not None
    assert beside.header == ("model", "from", "fid", "clip_score")
    assert beside.rows == (
        ("bk-small", "measured", "20.5 ± 0.25", "26"),
        ("autobuild-1", "measured", "19.25", "-"),
        ("Stable Diffusion v1.4", "published", "13.05", "29.58"),
        ("BK-SDM-Base", "published", "15.76", "28.78"),
        ("BK-SDM-Small", "published", "16.98", "26.77"),
        ("BK-SDM-Tiny", "published", "17.12", "26.53"),
    )
    assert "arXiv:2305.15798" in beside.note


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"steps": 50}, "steps is 50 and not 25"),
        ({"compared_size": 0}, "compared_size is 0 and not 256"),
        ({"samples": 1000}, "samples is 1000 and not 30000"),
        ({"variations": 2}, "variations is 2 and not 1"),
        ({"extractor": "clip:here"}, "extractor is 'clip:here' and not 'fid'"),
    ],
)
def test_published_values_are_shown_only_while_the_protocol_is_the_presets(
    changed: dict[str, Any], said: str
) -> None:
    beside = set_beside(config_of("coco-30k", **changed), {"teacher": {"fid": 1.0}})
    assert beside is not None
    assert beside.rows == ()
    assert said in beside.note


def test_what_a_preset_does_not_say_and_where_weights_lie_makes_no_difference() -> None:
    free = {"extractor": "fid:/mnt/inception.pth", "tf32": True, "dataset": "photos", "threads": 9}
    beside = set_beside(config_of("coco-30k", **free), {})
    assert beside is not None
    assert len(beside.rows) == 4


def test_without_a_preset_or_published_values_nothing_is_set_beside() -> None:
    assert set_beside(StudyConfig(), {"teacher": {"fid": 1.0}}) is None
    assert set_beside(config_of("brushbench"), {"teacher": {"fid": 1.0}}) is None


def test_a_preset_of_ones_own_is_a_file(own: Path) -> None:
    preset = read_preset(str(own))
    assert preset.find_departure(Protocol(samples=64, steps=4)) is None
    beside = set_beside(config_of(str(own)), {})
    assert beside is not None
    assert beside.rows == (("theirs", "published", "12.5", "3.12"),)


def test_a_preset_of_ones_own_is_found_from_any_folder_and_missed_in_words(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own.parent)
    config = config_of(own.name)
    monkeypatch.chdir("/")
    beside = set_beside(config, {})
    assert beside is not None
    assert len(beside.rows) == 1
    own.unlink()
    beside = set_beside(config, {})
    assert beside is not None
    assert beside.rows == ()
    assert "[report] preset" in beside.note


def test_published_values_of_whole_pictures_are_not_set_beside_crops() -> None:
    beside = set_beside(config_of("places2", crop="hole"), {"teacher": {"fid": 20.0}})
    assert beside is not None
    assert beside.rows == ()
    assert "crop is 'hole' and not 'whole'" in beside.note


@pytest.mark.parametrize("name", ["coco", "coco-30k.toml", "./nowhere.toml", ""])
def test_an_unknown_preset_names_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"one of brushbench, coco-30k, places2, or a \.toml file"):
        read_preset(name)


def test_another_file_is_no_preset(own: Path) -> None:
    with pytest.raises(InputError, match="must be one of"):
        read_preset(str(own.rename(own.with_suffix(".txt"))))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps = 4", "stepz = 4", "protocol.stepz: Extra inputs"),
        ("steps = 4", "steps = 0", "protocol.steps: "),
        ("steps = 4", 'dataset = "photos"', "its protocol has dataset"),
        ("steps = 4", "recovery = { steps = 3 }", "its protocol has recovery"),
        ("steps = 4", 'references = "a.npz"', "references is for task"),
        ("images =", "weights =", "bring.weights: "),
        ('about = "scenes of ours"', "", "about"),
        ("fd_efflite0 = 12.5", "fid = 12.5", "'fid' is not a column; "),
        ("-log(fd_efflite0)", "-log(fid)", "target must be over columns"),
        ("-log(fd_efflite0)", "log(", "is no expression"),
        ("[protocol]", "[protocol", "valid TOML"),
        ("name =", "title =", "published.rows.0"),
    ],
)
def test_a_file_that_is_no_preset_is_refused_by_its_field(
    own: Path, old: str, new: str, said: str
) -> None:
    assert old in OWN
    own.write_text(OWN.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        read_preset(str(own))
    assert said in str(raised.value)
    assert "own.toml" in str(raised.value)


def test_a_preset_is_frozen() -> None:
    preset = read_preset("places2")
    assert isinstance(preset, Preset)
    with pytest.raises(ValueError, match="frozen"):
        preset.about = "else"  # type: ignore[misc]
