"""Weights as they are stored: low precision, quantized, pointers, pickles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdsearch.check.report import check_unet, report_text
from sdsearch.errors import InputError
from sdsearch.pipelines.folder import open_pipeline
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.pictures.pipelines import load_pipeline
from tests.fakes import tiny_member
from tests.intake.layouts import CPU, UNET, WEIGHTS, outputs, paint, pickled, same

if TYPE_CHECKING:
    from torch import Tensor


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_low_precision_is_raised_to_single(dtype: torch.dtype, folder: Path) -> None:
    save_file({name: one.to(dtype) for name, one in UNET.items()}, folder / "unet" / WEIGHTS)
    teacher, whole = load_teacher(open_pipeline(str(folder)), CPU), load_pipeline(str(folder), CPU)
    rounded = {name: one.to(dtype).float() for name, one in UNET.items()}
    assert same(teacher.student(tiny_member()).state_dict(), rounded)
    assert same(whole.unet.state_dict(), rounded)
    assert check_unet(folder).problems == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state | {"conv_in.weight_scale": torch.ones(1)}, "conv_in.weight_scale"),
        (lambda state: state | {"conv_in.weight": state["conv_in.weight"].char()}, "quantized"),
    ],
)
def test_quantized_weights_are_refused_by_name(change: Any, said: str, folder: Path) -> None:
    save_file(change(dict(UNET)), folder / "unet" / WEIGHTS)
    for load in (lambda: load_teacher(open_pipeline(str(folder)), CPU), lambda: paint(folder)):
        with pytest.raises(InputError, match=said):
            load()
    assert check_unet(folder).problems != ()


SCALED = {
    "scaled fp8": lambda name, one: {
        name: one.to(torch.float8_e4m3fn),
        name.replace(".weight", ".scale_weight"): torch.tensor(3.0),
    },
    "int8 with scales": lambda name, one: {name: one.char(), f"{name}_scale": torch.ones(1)},
    "int8": lambda name, one: {name: one.char()},
}


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("stored", ["safetensors", "bin"])
@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_no_part_is_loaded_without_its_scales(
    part: str, stored: str, kind: str, folder: Path
) -> None:
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    name = next(name for name in sorted(state) if name.endswith(".weight"))
    state |= SCALED[kind](name, state.pop(name))
    if stored == "safetensors":
        save_file(state, file)
    else:
        file.unlink()
        pickle = (
            file.name.replace("model", "pytorch_model") if part == "text_encoder" else file.name
        )
        torch.save(state, file.with_name(pickle.replace(".safetensors", ".bin")))
    for load in (lambda: load_teacher(open_pipeline(str(folder)), CPU), lambda: paint(folder)):
        with pytest.raises(InputError, match=f"weights of the {part} must be plain .*quantized"):
            load()
    assert "quantized" in report_text(check_unet(folder))


def test_positions_of_whole_numbers_are_no_quantized_weights(
    folder: Path, expected: list[Tensor]
) -> None:
    file = folder / "text_encoder" / "model.safetensors"
    positions = {"text_model.embeddings.position_ids": torch.arange(32)[None]}
    save_file(load_file(file) | positions, file)
    assert torch.equal(outputs(load_teacher(open_pipeline(str(folder)), CPU))[0], expected[0])
    assert check_unet(folder).problems == ()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_pointer_of_git_lfs_is_told_what_to_do(part: str, folder: Path) -> None:
    (file,) = (folder / part).glob("*.safetensors")
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    for load in (lambda: load_teacher(open_pipeline(str(folder)), CPU), lambda: paint(folder)):
        with pytest.raises(InputError, match=f"git lfs pull in .*{part}"):
            load()
    assert "git lfs pull" in report_text(check_unet(folder))


def conversion_told(variant: str, folder: Path) -> str:
    """The command that the refusal of a pickled UNet names."""
    (folder / "unet" / WEIGHTS).unlink()
    torch.save(UNET, folder / "unet" / f"diffusion_pytorch_model{variant}.bin")
    with pytest.raises(InputError, match="pickles only") as refused:
        load_teacher(open_pipeline(str(folder)), CPU)
    return str(refused.value).split("trust them: ")[1]


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_a_pickled_unet_is_refused_by_label_and_check_alike(variant: str, folder: Path) -> None:
    command = conversion_told(variant, folder)
    (problem,) = check_unet(folder).problems
    assert command in problem.next_step


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_the_command_that_is_told_converts_a_pickled_unet(variant: str, folder: Path) -> None:
    command = conversion_told(variant, folder)
    run = command.replace("python", sys.executable, 1)
    subprocess.run(run, shell=True, check=True, capture_output=True)
    assert same(load_teacher(open_pipeline(str(folder)), CPU).unet_state, UNET)


class Evil:
    """What a pickle may do where it is not read as tensors only."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("evil"),)


@pytest.mark.parametrize("part", ["vae", "text_encoder"])
def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(
    part: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickled()(folder)
    (file,) = (folder / part).glob("*.bin")
    torch.save({"weight": Evil()}, file)
    with pytest.raises(InputError, match=f"{part}.* must be a pickle of tensors only: Uns"):
        load_teacher(open_pipeline(str(folder)), CPU)
    assert not (tmp_path / "evil").exists()
