"""`check` sees the whole pipeline: no part of it is believed before it has been loaded."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdsearch.check import check_unet
from sdsearch.errors import InputError
from sdsearch.weights.sizes import check_sizes
from tests.fakes import fake_teacher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = {"vae": "diffusion_pytorch_model", "text_encoder": "model"}
PICKLES = {"vae": "diffusion_pytorch_model.bin", "text_encoder": "pytorch_model.bin"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_teacher(tmp_path_factory.mktemp("sound") / "pipeline")


@pytest.fixture
def pipeline(sound: Path, tmp_path: Path) -> Path:
    """A copy whose files are to be replaced, not written into."""
    return shutil.copytree(sound, tmp_path / "pipeline", copy_function=os.link)


def weights(pipeline: Path, part: str) -> Path:
    return pipeline / part / f"{WEIGHTS[part]}.safetensors"


def store(pipeline: Path, part: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Weights of a part once something is done to them."""
    file = weights(pipeline, part)
    tensors = load_file(file)
    change(tensors)
    file.unlink()
    save_file(tensors, file, metadata={"format": "pt"})


def cut(pipeline: Path, part: str) -> None:
    file = weights(pipeline, part)
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-9])


def pickle(pipeline: Path, part: str, what: Any = None) -> None:
    file = weights(pipeline, part)
    torch.save(what or load_file(file), pipeline / part / PICKLES[part])
    file.unlink()


def last(tensors: dict[str, Any]) -> str:
    return max(name for name in tensors if name.endswith("weight"))


DAMAGE: dict[str, Callable[[Path, str], object]] = {
    "cut short": cut,
    "without a tensor": lambda at, part: store(at, part, lambda held: held.pop(last(held))),
    "not finite": lambda at, part: store(at, part, lambda held: held[last(held)].fill_(torch.nan)),
    "of other shapes": lambda at, part: store(
        at, part, lambda held: held.update({last(held): torch.zeros(1_000_003)})
    ),
    "absent": lambda at, part: shutil.rmtree(at / part),
    "without weights": lambda at, part: weights(at, part).unlink(),
    "a pickle of code": lambda at, part: pickle(at, part, {"a": Code()}),
    "a pickle of something else": lambda at, part: pickle(at, part, [1, 2]),
    "a pickle of nameless tensors": lambda at, part: pickle(at, part, {1: torch.zeros(9)}),
    "a pickle of one number again and again": lambda at, part: (
        write_config(at / part, intermediate_size=1 << 20, latent_channels=1 << 19),
        pickle(at, part, {"a": torch.zeros(1).expand(1 << 40)}),
    ),
    "of endless layers": lambda at, part: write_config(
        at / part, num_hidden_layers=10**9, layers_per_block=10**9
    ),
    "of endless width": lambda at, part: write_config(
        at / part, hidden_size=1 << 20, block_out_channels=[1 << 20] * 3
    ),
}
FAST = ("without a tensor", "not finite", "of endless layers")
CASES = [
    pytest.param(name, part, marks=() if name in FAST else pytest.mark.slow)
    for name in DAMAGE
    for part in WEIGHTS
]


class Code:
    """A pickle that would leave a trace where it is loaded without care."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def write_config(folder: Path, **changes: Any) -> None:
    """A part's config with some of its fields changed, which it has."""
    file = folder / "config.json"
    said = json.loads(file.read_text())
    said |= {name: value for name, value in changes.items() if name in said}
    file.unlink()
    file.write_text(json.dumps(said))


@pytest.mark.parametrize(("damage", "part"), CASES)
def test_a_damaged_part_is_a_problem_of_the_pipeline(damage, part, pipeline, monkeypatch):
    monkeypatch.chdir(pipeline)
    DAMAGE[damage](pipeline, part)
    report = check_unet(pipeline)
    assert {problem.code for problem in report.problems} & {"component", "text-width"}
    assert any(part in str(problem) for problem in report.problems)
    assert not (pipeline / "ran").exists()


def test_a_part_that_is_a_pickle_is_loaded_and_noted(pipeline):
    for part in WEIGHTS:
        pickle(pipeline, part)
    report = check_unet(pipeline)
    assert report.problems == ()
    assert [note.code for note in report.notes] == ["pickled-part", "pickled-part"]
    assert "note: pickled-part: vae/diffusion_pytorch_model.bin is a pickle" in str(report)


@pytest.mark.parametrize(
    "field",
    [
        {"transformer_layers_per_block": 10**9},
        {"layers_per_block": [2, 2, 2, 10**9]},
        {"block_out_channels": [32, 64, 10**12, 128]},
        {"cross_attention_dim": int("9" * 250)},
        {"norm_num_groups": True},
    ],
)
def test_a_unet_config_that_asks_for_endless_work_is_refused_at_once(field, pipeline):
    file = pipeline / "unet" / "config.json"
    said = json.loads(file.read_text()) | field
    file.unlink()
    file.write_text(json.dumps(said))
    with pytest.raises(InputError, match=f"{next(iter(field))} in .*cannot be"):
        check_unet(pipeline)


@pytest.mark.parametrize(
    "config",
    [
        {"layers_per_block": 10**9},
        {"num_hidden_layers": 65},
        {"vision_config": {"num_hidden_layers": 10**9}},
        {"block_out_channels": [128, 10**12]},
        {"block_out_channels": [1] * 1_000},
        {"num_encoder_blocks": [1, 10**6]},
        {"hidden_size": float("inf")},
        {"scaling_factor": float("nan")},
    ],
)
def test_a_config_of_a_part_asks_for_no_more_than_any_has(config):
    with pytest.raises(InputError, match=r"vae/config\.json"):
        check_sizes(config, "vae/config.json")
