from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.check.compatibility import judge_compatibility
from sdsearch.check.report import CheckReport, check_unet, report_text
from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import Architecture
from sdsearch.unet.backbone import PRESETS, SD14, TINY
from sdsearch.unet.config import unet_config
from tests.unet.test_config_reader import BK, BK_FOUR, BK_THREE
from tests.unets import (
    TEACHER,
    hard_members,
    inputs,
    lively_unet,
    predict,
    random_members,
    random_unet,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = "diffusion_pytorch_model.safetensors"


def codes(report: CheckReport) -> list[str]:
    return [problem.code for problem in report.problems]


def edit(file: Path, **changes: Any) -> None:
    config = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps(config), encoding="utf-8")


def edit_weights(file: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(state)
    save_file(state, file)


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A copy of the tiny pipeline, to be broken."""
    return shutil.copytree(asset_path(TINY_TEACHER), tmp_path / "pipeline")


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    """A saved random member with ghosts."""
    random_unet(hard_members()[6]).save_pretrained(tmp_path / "unet")
    return tmp_path / "unet"


def test_the_tiny_pipeline_has_no_problem(pipeline: Path) -> None:
    report = check_unet(pipeline)
    assert report.problems == ()
    assert report.member == "teacher"
    assert report.arch_key == TEACHER.key
    assert report.spaces == ("sd14", "sd14-blocks", "sd14-wide", "tiny")
    assert report.backbone == "tiny"
    assert report.costs is not None
    assert report.costs.params == 3_279_428


def test_saved_members_have_no_problem_and_are_recognised(tmp_path: Path) -> None:
    for arch in random_members(3, seed=31):
        random_unet(arch).save_pretrained(tmp_path / arch.key)
        report = check_unet(tmp_path / arch.key, "tiny")
        assert report.problems == ()
        assert report.arch_key == arch.key
        assert report.minimum_diffusers.version == ("0.22.0" if arch.ghost_slots else "0.15.0")


@pytest.mark.parametrize("name", BK)
def test_bk_sdm_configs_are_sound_members(name: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(BK[name]))
    report = check_unet(file)
    assert report.problems == ()
    assert (report.member, report.backbone) == (name, "sd14")
    assert report.minimum_diffusers.version == "0.13.0"
    lora = report.compatibility["LoRA of the teacher"].why
    present = {"bk-base": 160, "bk-small": 144, "bk-tiny": 144}[name]
    moved = {"bk-base": 48, "bk-small": 48, "bk-tiny": 96}[name]
    assert f"keeps {present} of the 256 tensors" in lora
    assert f"{moved} of them renamed" in lora
    assert f"{256 - present} have lost their block" in lora
    controlnet = report.compatibility["ControlNet of the teacher"]
    assert controlnet.status == "does not"
    assert f"takes {6 if name == 'bk-tiny' else 8}" in controlnet.why
    attentions = {"bk-base": 10, "bk-small": 9, "bk-tiny": 9}[name]
    assert f"has {attentions}" in report.compatibility["IP-Adapter of the teacher"].why


def test_wrong_heads_and_groups_load_in_silence_and_change_the_output(tmp_path: Path) -> None:
    # The reason for the two guards below: diffusers does not complain.
    unet = tmp_path / "unet"
    lively_unet().save_pretrained(unet)
    sound = predict(UNet2DConditionModel.from_pretrained(unet), *inputs())
    for changes in ({"attention_head_dim": 4}, {"norm_num_groups": 4}):
        edit(unet / "config.json", **changes)
        broken = predict(UNet2DConditionModel.from_pretrained(unet), *inputs())
        assert (sound - broken).abs().max() > 0.01
        edit(unet / "config.json", attention_head_dim=2, norm_num_groups=8)


@pytest.mark.parametrize("against", [None, "tiny"])
def test_a_wrong_head_count_is_found(pipeline: Path, against: str | None) -> None:
    edit(pipeline / "unet" / "config.json", attention_head_dim=4)
    report = check_unet(pipeline, against)
    assert codes(report) == ["head-count"]
    assert "[2, 2, 2, 2]" in report.problems[0].wanted
    assert "number of heads" in str(report.why_no_member)


@pytest.mark.parametrize("against", [None, "tiny"])
def test_wrong_norm_groups_are_found(pipeline: Path, against: str | None) -> None:
    edit(pipeline / "unet" / "config.json", norm_num_groups=16)
    assert codes(check_unet(pipeline, against)) == ["norm-groups"]


def test_a_mid_block_deleted_in_place_is_found(tmp_path: Path) -> None:
    live = random_unet()
    live.mid_block = None
    live.save_pretrained(tmp_path)
    report = check_unet(tmp_path)
    assert codes(report) == ["mid-block-missing"]
    assert "random weights" in report.problems[0].next_step


def test_nine_channels_in_a_text_to_image_pipeline_are_found(pipeline: Path) -> None:
    edit(pipeline / "model_index.json", _class_name="StableDiffusionPipeline")
    StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None)  # loads all the same
    report = check_unet(pipeline)
    assert codes(report) == ["channel-plan"]
    assert "fails only when called" in report.problems[0].found


def test_a_truncated_weight_file_is_found(pipeline: Path) -> None:
    file = pipeline / "unet" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])
    report = check_unet(pipeline)
    assert codes(report) == ["unreadable-weights"]
    assert "cut short" in report.problems[0].found


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named(pipeline: Path, value: float) -> None:
    name = "up_blocks.2.resnets.1.conv1.weight"

    def spoil(state: dict[str, torch.Tensor]) -> None:
        state[name].view(-1)[7] = value

    edit_weights(pipeline / "unet" / WEIGHTS, spoil)
    report = check_unet(pipeline)
    assert codes(report) == ["not-finite"]
    assert name in report.problems[0].where


def spoil_missing(state: dict[str, torch.Tensor]) -> None:
    del state["conv_out.bias"]


def spoil_extra(state: dict[str, torch.Tensor]) -> None:
    state["unet.lora_A.weight"] = torch.zeros(2)


def spoil_channels(state: dict[str, torch.Tensor]) -> None:
    state["conv_in.weight"] = state["conv_in.weight"][:, :4].contiguous()


def spoil_shape(state: dict[str, torch.Tensor]) -> None:
    state["conv_out.weight"] = state["conv_out.weight"][:3].contiguous()


def spoil_empty(state: dict[str, torch.Tensor]) -> None:
    state["conv_out.weight"] = torch.zeros(0)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (spoil_missing, "missing-tensors"),
        (spoil_extra, "extra-tensors"),
        (spoil_channels, "input-channels"),
        (spoil_shape, "shape-mismatch"),
        (spoil_empty, "empty-tensor"),
    ],
)
def test_tensors_that_do_not_fit_the_config_are_found(unet: Path, spoil: Any, code: str) -> None:
    edit_weights(unet / WEIGHTS, spoil)
    assert codes(check_unet(unet)) == [code]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"attention_head_dim": [8, 8, 8]}, "list-length"),
        ({"layers_per_block": [1, 1, 1]}, "list-length"),
        ({"num_attention_heads": 8}, "num-attention-heads"),
        ({"addition_embed_type": "text_time"}, "unsupported-field"),
        ({"_class_name": "UNet3DConditionModel"}, "unsupported-field"),
        ({"transformer_layers_per_block": [[1], [1], [1], 1]}, "nested-depths"),
        ({"block_out_channels": [320, 640, 1280, 1300]}, "width-divisor"),
        ({"use_linear_projection": True}, "teacher-fact"),
    ],
)
def test_what_is_wrong_with_a_config_is_found(
    changes: dict[str, Any], code: str, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(BK_FOUR | changes))
    assert code in codes(check_unet(file, "sd14"))


def test_a_field_of_another_family_is_reported_with_its_value_and_what_it_must_be(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(BK_FOUR | {"addition_embed_type": "text_time"}))
    found = [one for one in check_unet(file).problems if one.code == "unsupported-field"]
    facts = [(one.where, one.found, one.wanted) for one in found]
    assert facts == [("addition_embed_type", "'text_time'", "None")]
    assert "v1 and v2" in found[0].next_step


def test_a_three_level_net_with_four_head_counts_is_found(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    heads = {"attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024}
    file.write_text(json.dumps(BK_THREE | heads | {"use_linear_projection": True}))
    assert "list-length" in codes(check_unet(file))


@pytest.mark.parametrize(
    ("file", "changes", "expected"),
    [
        # Of another width than its own weights, a part does not load either.
        ("text_encoder/config.json", {"hidden_size": 768}, ["component", "text-width"]),
        ("vae/config.json", {"latent_channels": 16}, ["component", "latent-channels"]),
        ("model_index.json", {"tokenizer": [None, None]}, ["component"]),
        (
            "model_index.json",
            {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]},
            ["safety-checker"],
        ),
    ],
)
def test_parts_of_a_pipeline_that_do_not_fit_are_found(
    pipeline: Path, file: str, changes: dict[str, Any], expected: list[str]
) -> None:
    edit(pipeline / file, **changes)
    assert codes(check_unet(pipeline)) == expected


def test_pickled_weights_are_not_opened(pipeline: Path) -> None:
    (pipeline / "unet" / WEIGHTS).rename(pipeline / "unet" / "diffusion_pytorch_model.bin")
    assert codes(check_unet(pipeline)) == ["pickled-weights"]
    (pipeline / "unet" / "diffusion_pytorch_model.bin").unlink()
    assert codes(check_unet(pipeline)) == ["no-weights"]


def test_sharded_weights_are_read_by_their_index(tmp_path: Path) -> None:
    live = random_unet(hard_members()[2])
    live.save_pretrained(tmp_path, max_shard_size="4MB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert check_unet(tmp_path, "tiny").problems == ()
    sorted(tmp_path.glob("*.safetensors"))[0].unlink()
    assert "unreadable-weights" in codes(check_unet(tmp_path, "tiny"))


@pytest.mark.parametrize("widths", [[320, 640], [320, 640, 1280, 1280, 1280], []])
def test_other_numbers_of_levels_are_reported_and_never_a_traceback(widths, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(BK_FOUR | {"block_out_channels": widths}))
    report = check_unet(file)
    assert report.architecture is None
    assert "list-length" in codes(report)


def test_a_unet_that_is_no_member_is_still_counted(tmp_path: Path) -> None:
    config = unet_config(TEACHER, TINY) | {"layers_per_block": [3, 2, 2, 2]}
    live = UNet2DConditionModel.from_config(config)
    live.save_pretrained(tmp_path)
    report = check_unet(tmp_path, "tiny")
    assert report.problems == ()
    assert "layers_per_block" in str(report.why_no_member)
    assert report.costs is not None
    assert report.costs.params == sum(p.numel() for p in live.parameters())


def test_a_nine_channel_student_of_a_four_channel_teacher_is_sound(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    arch = search_space("sd14").members["bk-base"]
    file.write_text(json.dumps(unet_config(arch, PRESETS["sd14-inpaint"])))
    teacher = tmp_path / "teacher"
    (teacher / "unet").mkdir(parents=True)
    (teacher / "unet" / "config.json").write_text(json.dumps(unet_config(TEACHER, SD14)))
    (teacher / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    report = check_unet(file, str(teacher))
    assert report.problems == ()
    assert report.member == "bk-base"


def test_the_command_prints_the_problem_and_ends_with_2(pipeline: Path) -> None:
    sound = CliRunner().invoke(app, ["check", str(pipeline)])
    assert sound.exit_code == 0
    assert "no problems" in sound.output
    edit(pipeline / "unet" / "config.json", attention_head_dim=4)
    broken = CliRunner().invoke(app, ["check", str(pipeline), "--json"])
    assert broken.exit_code == 2
    report = CheckReport.model_validate(json.loads(broken.output))
    assert codes(report) == ["head-count"]
    assert "head-count" in report_text(report)


@pytest.mark.parametrize(
    "content",
    [None, "{", "[]", '{"block_out_channels": null}', '{"block_out_channels": [320, "640"]}'],
)
def test_what_is_no_unet_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError):
        check_unet(tmp_path)


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        ("teacher", "works", "counts blocks"),
        ("bk-tiny", "works", "counts blocks"),
        ("level 3 depth 0", "does not", "level 3 has no encoder block"),
        (
            "level 0: attention down 00; level 1: attention down 00; level 2: attention down 00",
            "does not",
            "the encoder has no attention",
        ),
    ],
)
def test_comfyui_is_judged_by_the_rules_of_its_layout(words: str, status: str, why: str) -> None:
    arch = Architecture.parse(words)
    found = judge_compatibility(unet_config(arch, SD14), arch, SD14)
    assert found["ComfyUI"].status == status
    assert why in found["ComfyUI"].why
    fixed = "works" if words == "teacher" else "does not"
    assert found["original checkpoints"].status == fixed
