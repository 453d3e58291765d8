from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import sdsearch
from sdsearch.errors import InputError
from sdsearch.study.config import StudyConfig
from sdsearch.unet.backbone import SD14, SD14_INPAINT, SD21
from tests.fakes import full_geometry

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.unet.backbone import Backbone


TINY = {"masks": "thick", "samples": 96, "guidance": 2.0, "threads": 1}
"""The protocol of the tiny teacher's world, where it is not the default."""


def test_without_arguments_a_study_has_the_tiny_recipe_and_a_commented_file(tmp_path: Path) -> None:
    study = sdsearch.create_study(tmp_path / "new" / "study")
    assert study.config == StudyConfig.model_validate({"protocol": TINY})
    text = (study.path / "study.toml").read_text()
    assert 'pipeline = "tiny"            # "tiny" | a local diffusers folder' in text
    assert "budget = {}" in text


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (0.6, {"params": {"share": 0.6}}),
        ({"macs": {"share": 0.7}, "params": 3_000_000}, {"params": 3e6, "macs": {"share": 0.7}}),
        (None, {}),
    ],
)
def test_a_budget_is_a_share_of_the_parameters_or_limits_by_resource(
    tmp_path: Path, budget: Any, said: dict[str, Any]
) -> None:
    made = sdsearch.create_study(tmp_path, budget=budget)
    assert made.config.build.budget.model_dump(exclude_none=True) == said


def test_every_section_can_be_given_and_is_read_back(tmp_path: Path) -> None:
    made = sdsearch.create_study(
        tmp_path,
        space={"name": "sd14-blocks", "labels": 12},
        budget=0.5,
        protocol={"samples": 8, "seed": 7, "recovery": {"steps": 3, "losses": {"task": 0.5}}},
        ranker={"kind": "ridge", "target": "-log(kid_efflite0)"},
        build={"methods": ["random", "pareto"], "top": 2},
        export={"recovery": {"precision": "bfloat16", "learning_rate": 1e-5}},
    )
    config = sdsearch.load_study(tmp_path).config
    assert config == made.config
    assert (config.space.name, config.space.labels, config.seed) == ("sd14-blocks", 12, 7)
    assert config.protocol.recovery.losses.task == 0.5
    assert config.ranker.target.expression == "-log(kid_efflite0)"
    assert (config.build.methods, config.build.top) == (("random", "pareto"), 2)
    assert config.build.budget.model_dump(exclude_none=True) == {"params": {"share": 0.5}}
    assert config.export.recovery.learning_rate == 1e-5


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return full_geometry(tmp_path / "my-sd")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "my-photos"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("backbone", "pixels"), [(SD14_INPAINT, 512), (SD21, 768)])
def test_a_study_of_a_full_size_teacher_says_its_resolution_rates_and_precision(
    tmp_path: Path, photos: Path, backbone: Backbone, pixels: int
) -> None:
    teacher = full_geometry(tmp_path / "sd", backbone)
    made = sdsearch.create_study(tmp_path / "s", teacher=teacher, images=photos, budget=0.6)
    protocol, long = made.config.protocol, made.config.export.recovery
    assert (made.config.space.name, made.config.space.strategy) == ("sd14", "stratified")
    assert (made.config.teacher.pipeline, protocol.dataset) == (str(teacher), str(photos))
    assert (protocol.resolution, protocol.recovery.learning_rate) == (pixels, 1e-5)
    assert (protocol.dtype, protocol.recovery.precision) == ("float16", "bfloat16")
    assert (long.learning_rate, long.batch_size, long.precision) == (5e-5, 64, "bfloat16")
    text = (made.path / "study.toml").read_text()
    assert f"resolution = {pixels}             # pixels a side; best the teacher's own\n" in text
    assert "[protocol.recovery] " in text
    assert "learning_rate = 1e-5  " in text
    assert "time_limit = 7200  " in text
    assert sdsearch.load_study(made.path) == made
    assert sdsearch.create_study(tmp_path / "s", teacher=teacher, images=photos, budget=0.6) == made


def test_what_is_said_goes_before_the_recipe_however_deep_and_where_it_is_the_default(
    tmp_path: Path, teacher: Path, photos: Path
) -> None:
    made = sdsearch.create_study(
        tmp_path / "s",
        teacher=teacher,
        images=photos,
        masks="thick",
        space="sd14-blocks",
        protocol={"samples": 64, "tf32": False, "recovery": {"precision": "float32", "steps": 9}},
        export={"recovery": {"steps": 77}},
    )
    protocol, long = made.config.protocol, made.config.export.recovery
    assert (protocol.samples, protocol.tf32, protocol.masks) == (64, False, "thick")
    assert (protocol.recovery.precision, protocol.recovery.steps) == ("float32", 9)
    assert (protocol.recovery.batch_size, protocol.resolution) == (8, 512)
    assert (long.steps, long.batch_size, made.config.space.name) == (77, 64, "sd14-blocks")
    assert sdsearch.load_study(tmp_path / "s") == made


def test_a_teacher_that_is_to_learn_to_inpaint_has_a_recipe_for_that(
    tmp_path: Path, photos: Path
) -> None:
    words = full_geometry(tmp_path / "sd", SD14)
    made = sdsearch.create_study(
        tmp_path / "s", teacher=words, images=photos, inpaint={"steps": 500, "seed": 3}
    )
    teacher = made.config.teacher
    assert (teacher.pipeline, teacher.inpaint) == (str(words), True)
    assert (teacher.tuning.steps, teacher.tuning.seed) == (500, 3)
    assert (teacher.tuning.batch_size, teacher.tuning.precision) == (64, "bfloat16")
    assert made.space().backbone.in_channels == 9
    text = (made.path / "study.toml").read_text()
    assert "inpaint = true  " in text
    assert text.index("[teacher.tuning]") < text.index("[space]")
    assert "whole_holes = 0.25  " in text
    assert sdsearch.load_study(made.path) == made


@pytest.mark.parametrize("inpaint", [True, {"steps": 3}])
def test_a_teacher_that_sees_masks_already_is_not_to_learn_it(tmp_path: Path, inpaint: Any) -> None:
    with pytest.raises(InputError, match="it sees masks already"):
        sdsearch.create_study(tmp_path / "s", inpaint=inpaint)
    assert not (tmp_path / "s").exists()


def test_a_full_size_teacher_without_photos_is_refused_unless_scenes_are_asked_for(
    tmp_path: Path, teacher: Path
) -> None:
    with pytest.raises(InputError, match="name their folder as images"):
        sdsearch.create_study(tmp_path / "s", teacher=teacher)
    assert not (tmp_path / "s").exists()
    asked = sdsearch.create_study(tmp_path / "s", teacher=teacher, images="scenes")
    said = sdsearch.create_study(tmp_path / "t", teacher=teacher, protocol={"dataset": "scenes"})
    assert asked.config == said.config
    assert asked.config.protocol.dataset == "scenes"


def test_another_resolution_than_the_teachers_is_kept_and_warned_about(
    tmp_path: Path, teacher: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sdsearch.create_study(tmp_path / "s", teacher=teacher, images=photos)
    assert capsys.readouterr().err == ""
    made = sdsearch.create_study(
        tmp_path / "t", teacher=teacher, images=photos, protocol={"resolution": 256}
    )
    assert made.config.protocol.resolution == 256
    assert "is 256, but the teacher was trained at 512" in capsys.readouterr().err


def test_photos_and_masks_of_ones_own_do_for_the_tiny_teacher_too(
    tmp_path: Path, photos: Path
) -> None:
    made = sdsearch.create_study(tmp_path / "s", images=photos, masks=photos)
    assert made.config == StudyConfig.model_validate(
        {"protocol": TINY | {"dataset": str(photos), "masks": str(photos)}}
    )


def test_a_study_that_says_the_same_is_loaded_and_another_names_what_differs(
    tmp_path: Path,
) -> None:
    made = sdsearch.create_study(tmp_path, budget=0.6)
    file = tmp_path / "study.toml"
    file.write_text(file.read_text() + "# a note of its owner\n")
    assert sdsearch.create_study(tmp_path, budget=0.6) == made
    with pytest.raises(InputError) as raised:
        sdsearch.create_study(tmp_path, budget=0.5, space={"labels": 9})
    said = str(raised.value)
    assert "build.budget.params.share is 0.6 there, not 0.5" in said
    assert "space.labels is 68 there, not 9" in said
    assert "load_study" in said
    assert file.read_text().endswith("# a note of its owner\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budget": 1.5}, "'share' in [build.budget.params] is 1.5"),
        ({"budget": {"mcs": 3}}, "did you mean 'macs'"),
        ({"protocol": {"stepz": 3}}, "did you mean 'steps'"),
        ({"protocl": {}}, "did you mean 'protocol'"),
        ({"space": "sd15"}, "did you mean 'sd14'"),
        ({"teacher": "./nowhere"}, "is no folder here"),
        ({"ranker": {"target": "log("}}, "is no expression"),
        ({"ranker": {"target": 3}}, "'target' in [ranker] is 3"),
        ({"ranker": 3}, "'ranker' at the top is 3"),
        ({"build": 3}, "build must map keys of [build] to values, but is 3"),
        ({"space": 5}, "space must map keys of [space] to values, but is 5"),
        ({"space": 0}, "but is 0"),
        ({"budget": 0.6, "build": {"budget": {"macs": 9}}}, "leave one out"),
        ({"masks": "box", "protocol": {"masks": "thin"}}, "leave one out"),
        ({"images": "./nowhere"}, "images must be a folder of photos"),
        ({"masks": "boxx"}, "did you mean 'box'"),
        ({"protocol": 5}, "protocol must map keys of [protocol] to values, but is 5"),
        ({"protocol": {"dataset": "a\x7fb"}}, "TOML"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_written(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as raised:
        sdsearch.create_study(tmp_path / "study", **arguments)
    assert said in str(raised.value)
    assert not (tmp_path / "study").exists()


def test_a_study_that_paints_words_says_its_prompts_and_has_no_masks(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a house\n", encoding="utf-8")
    (tmp_path / "statistics.npz").write_bytes(b"")
    study = sdsearch.create_study(
        tmp_path / "words",
        task="text-to-image",
        prompts=tmp_path / "prompts.txt",
        references=tmp_path / "statistics.npz",
        protocol={"variations": 2},
    )
    protocol = study.config.protocol
    assert (protocol.task, protocol.variations) == ("text-to-image", 2)
    assert protocol.prompts == str(tmp_path / "prompts.txt")
    assert protocol.references == str(tmp_path / "statistics.npz")
    assert "masks" not in (tmp_path / "words" / "study.toml").read_text(encoding="utf-8")


def test_a_long_recovery_for_words_leaves_some_out_unless_it_is_told_otherwise(
    tmp_path: Path,
) -> None:
    def dropout(name: str, **said: Any) -> float:
        study = sdsearch.create_study(tmp_path / name, **said)
        return study.config.export.recovery.caption_dropout

    full = {"export": {"recovery": {"caption_dropout": 0.0}}}
    assert dropout("words", task="text-to-image") == 0.1
    assert dropout("own", protocol={"task": "text-to-image"}) == 0.1
    assert dropout("told", task="text-to-image", **full) == 0.0
    assert dropout("holes") == 0.0


@pytest.fixture
def coco(tmp_path: Path, teacher: Path, photos: Path) -> dict[str, Any]:
    """All that the preset coco-30k asks for, by argument."""
    (tmp_path / "prompts.txt").write_text("a house\n", encoding="utf-8")
    (tmp_path / "real_im256.npz").write_bytes(b"")
    return {
        "teacher": teacher,
        "images": photos,
        "prompts": tmp_path / "prompts.txt",
        "references": tmp_path / "real_im256.npz",
    }


def test_a_preset_says_what_no_argument_says(tmp_path: Path, coco: dict[str, Any]) -> None:
    made = sdsearch.create_study(
        tmp_path / "s", preset="coco-30k", protocol={"steps": 50, "tf32": False}, **coco
    )
    protocol = made.config.protocol
    assert (protocol.task, protocol.compared_size, protocol.samples) == (
        "text-to-image",
        256,
        30_000,
    )
    assert (protocol.steps, protocol.tf32, protocol.scheduler) == (50, False, "pndm")
    assert protocol.recovery.learning_rate == 1e-5, "what neither says is the teacher's recipe"
    assert made.config.ranker.target.expression == "-log(fid)"
    assert made.config.report.preset == "coco-30k"
    assert sdsearch.load_study(made.path) == made
    text = (made.path / "study.toml").read_text(encoding="utf-8")
    assert '[report]\npreset = "coco-30k"' in text
    assert "steps = 50\n" in text


def test_a_preset_names_all_the_files_that_are_still_to_be_named(
    tmp_path: Path, coco: dict[str, Any]
) -> None:
    for given, lacking in (
        ((), "images, prompts, references"),
        (("images", "prompts"), "references"),
    ):
        named = {name: coco[name] for name in ("teacher", *given)}
        with pytest.raises(InputError, match=f"but {lacking} are not named") as raised:
            sdsearch.create_study(tmp_path / "s", preset="coco-30k", **named)
        assert "real_im256.npz" in str(raised.value)
        assert "Inception weights" in str(raised.value)
    with pytest.raises(InputError, match="one of brushbench, coco-30k, places2"):
        sdsearch.create_study(tmp_path / "s", preset="coco", **coco)
    assert not (tmp_path / "s").exists()


def test_a_study_may_crop_its_photos_around_their_holes(tmp_path: Path) -> None:
    study = sdsearch.create_study(tmp_path / "holes", crop="hole", protocol={"crop_padding": 48})
    assert (study.config.protocol.crop, study.config.protocol.crop_padding) == ("hole", 48)
    assert 'crop = "hole"\n' in (tmp_path / "holes" / "study.toml").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="crop"):
        sdsearch.create_study(tmp_path / "words", crop="hole", task="text-to-image")


@pytest.mark.parametrize("name", ["prompts", "references"])
def test_prompts_and_references_that_are_not_there_are_refused_at_once(
    name: str, tmp_path: Path
) -> None:
    where: Any = {name: tmp_path / "nowhere"}
    with pytest.raises(InputError, match=rf"{name} must be .*nowhere"):
        sdsearch.create_study(tmp_path / "words", task="text-to-image", **where)
    assert not (tmp_path / "words").exists()


def test_what_only_painting_words_has_is_refused_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a house\n", encoding="utf-8")
    with pytest.raises(InputError, match="prompts is for task"):
        sdsearch.create_study(tmp_path / "holes", prompts=tmp_path / "prompts.txt")


def test_what_is_none_is_left_out_of_the_file(tmp_path: Path) -> None:
    budget = {"macs": None, "params": {"share": 0.5}}
    made = sdsearch.create_study(tmp_path, build={"latency_table": None}, budget=budget)
    assert sdsearch.load_study(tmp_path) == made
    assert "null" not in (tmp_path / "study.toml").read_text()


@pytest.mark.parametrize("place", [".", "below"])
def test_a_study_is_no_file(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"needs a folder.*choose another"):
        sdsearch.create_study(tmp_path / "file" / place)


@pytest.mark.parametrize("resource", ["params", "macs", "memory_bytes", "file_bytes"])
@pytest.mark.parametrize("limit", [0.6, 1, True])
def test_a_bare_number_that_was_meant_as_a_share_is_refused(
    tmp_path: Path, resource: str, limit: float
) -> None:
    with pytest.raises(InputError, match=rf"{resource}.*write {{ share = {float(limit)} }}"):
        sdsearch.create_study(tmp_path / "study", budget={resource: limit})
    assert not (tmp_path / "study").exists()
