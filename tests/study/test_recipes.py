from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from sdsearch.errors import FieldError, InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import TeacherTuning
from sdsearch.study.config import StudyConfig, parse_config
from sdsearch.study.recipes import FULL, SMALL, find_recipe, warn_of_resolution
from sdsearch.unet.backbone import PRESETS, SD14, TINY
from sdsearch.unet.teacher import teacher_resolution
from tests.fakes import full_geometry


def config_of(text: str) -> StudyConfig:
    return parse_config(tomllib.loads(text), Path("study.toml"))


@pytest.mark.parametrize(
    ("backbone", "pixels"),
    [("sd14", 512), ("sd14-inpaint", 512), ("sd2", 512), ("sd21", 768)],
)
def test_the_resolution_is_the_teachers_own(tmp_path: Path, backbone: str, pixels: int) -> None:
    teacher = str(full_geometry(tmp_path, PRESETS[backbone]))
    assert teacher_resolution(teacher) == pixels
    assert find_recipe(teacher).values["protocol"]["resolution"] == pixels


def test_an_autoencoder_of_other_depth_makes_another_resolution(tmp_path: Path) -> None:
    assert teacher_resolution(str(full_geometry(tmp_path, SD14, vae_levels=3))) == 256
    assert teacher_resolution("tiny") == Protocol().resolution == 64


@pytest.mark.parametrize("vae", ['{"block_out_channels": 4}', "{}", '{"block_out_channels": []}'])
def test_an_autoencoder_that_does_not_say_its_levels_is_refused(tmp_path: Path, vae: str) -> None:
    (full_geometry(tmp_path) / "vae" / "config.json").write_text(vae)
    with pytest.raises(FieldError, match="block_out_channels"):
        teacher_resolution(str(tmp_path))


def test_an_autoencoder_tiny_is_read_by_the_levels_of_its_encoder(tmp_path: Path) -> None:
    vae = '{"encoder_block_out_channels": [64, 64, 64, 64]}'
    (full_geometry(tmp_path) / "vae" / "config.json").write_text(vae)
    assert teacher_resolution(str(tmp_path)) == 512


def test_the_values_of_a_small_teachers_recipe_are_those_of_its_template() -> None:
    recipe = find_recipe("tiny")
    assert (recipe.template, recipe.needs_photos) == (SMALL, False)
    assert recipe.values == tomllib.loads(SMALL)


def test_a_small_teacher_that_learns_to_inpaint_is_told_the_defaults_of_that(
    tmp_path: Path,
) -> None:
    words = str(full_geometry(tmp_path, TINY.model_copy(update={"in_channels": 4}), vae_levels=3))
    recipe = find_recipe(words, inpaint=True)
    found = config_of(recipe.template)
    assert found.teacher.inpaint
    assert found.teacher.tuning == TeacherTuning()
    assert found.model_copy(update={"teacher": StudyConfig().teacher}) == config_of(SMALL)
    assert recipe.values["teacher"]["inpaint"] is True


def test_one_of_full_size_learns_by_the_masks_and_dropout_of_stable_diffusions_own(
    tmp_path: Path,
) -> None:
    recipe = find_recipe(str(full_geometry(tmp_path, SD14)), inpaint=True)
    tuning = config_of(recipe.template).teacher.tuning
    assert recipe.values["teacher"]["inpaint"] is True
    assert (tuning.whole_holes, tuning.caption_dropout) == (0.25, 0.1)
    assert (tuning.decay, tuning.precision, tuning.masks) == ("constant", "bfloat16", "mixed")
    assert config_of(FULL).teacher.inpaint is False


def test_a_small_teacher_of_another_size_keeps_the_recipe_and_its_resolution(
    tmp_path: Path,
) -> None:
    large = TINY.model_copy(update={"sample_size": 32})
    recipe = find_recipe(str(full_geometry(tmp_path, large, vae_levels=3)))
    values = tomllib.loads(SMALL)
    assert recipe.values == values | {"protocol": values["protocol"] | {"resolution": 128}}
    assert not recipe.needs_photos


@pytest.mark.parametrize("widths", [(320, 640, 1280, 1280), (160, 320, 640, 640)])
def test_a_teacher_of_full_size_is_sampled_and_trained_as_stable_diffusion_is(
    tmp_path: Path, widths: tuple[int, int, int, int]
) -> None:
    recipe = find_recipe(str(full_geometry(tmp_path, SD14.with_widths(widths))))
    assert recipe.needs_photos
    config = config_of(FULL)
    protocol, short, long = (
        config.protocol,
        config.protocol.recovery,
        config.export.recovery,
    )
    assert (protocol.steps, protocol.guidance) == (20, 7.5)
    assert (protocol.dtype, protocol.tf32) == ("float16", True)
    assert (short.precision, short.teacher_dtype) == ("bfloat16", "float16")
    assert (long.precision, long.teacher_dtype) == ("bfloat16", "float16")
    assert 1e-5 <= short.learning_rate <= 5e-5
    assert long.learning_rate == 5e-5
    assert (long.losses.output, long.losses.task, long.losses.feature) == (1, 1, 1)
    assert (config.space.labels, config.space.strategy) == (68, "stratified")


def test_the_guide_shows_values_of_the_recipe() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide-sd14.md").read_text(encoding="utf-8")
    shown = tomllib.loads(guide.split("```toml\n")[1].split("```")[0])
    recipe = tomllib.loads(FULL)
    assert set(shown) == {"space", "protocol", "export"}
    for section, values in shown.items():
        whole = recipe[section]
        for key, value in values.items():
            said = {name: whole[key][name] for name in value} if key == "recovery" else whole[key]
            assert said == value


def test_a_pipeline_without_configs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model_index\.json"):
        find_recipe(str(tmp_path))
    (full_geometry(tmp_path) / "vae" / "config.json").unlink()
    with pytest.raises(InputError, match="vae"):
        find_recipe(str(tmp_path))


def test_another_resolution_than_the_teachers_is_warned_about(tmp_path: Path) -> None:
    teacher = str(full_geometry(tmp_path))
    own, half = (
        parse_config(
            {"teacher": {"pipeline": teacher}, "protocol": {"resolution": size}}, Path("s.toml")
        )
        for size in (512, 256)
    )
    assert warn_of_resolution(own) is None
    assert warn_of_resolution(StudyConfig()) is None
    warning = warn_of_resolution(half)
    assert warning is not None
    assert "resolution in [protocol] is 256" in warning
    assert "trained at 512" in warning
