"""Teachers as they are in the wild: layouts of weights, classes of parts, families, hub ids."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import AutoencoderTiny, StableDiffusionInpaintPipeline, UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

import sdsearch
from sdsearch.assets import asset_path
from sdsearch.check.report import check_unet, report_text
from sdsearch.errors import InputError
from sdsearch.export.index import INPAINT, describe_index, read_parts
from sdsearch.export.parts import write_part
from sdsearch.pipelines.folder import PARTS, list_files, locate_pipeline, open_pipeline, read_part
from sdsearch.unet.backbone import SD21, TINY
from sdsearch.unet.config import unet_config
from sdsearch.unet.teacher import teacher_backbone
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.pictures.pipelines import load_pipeline
from tests.fakes import tiny_member

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch_eval.models import Components

CPU = torch.device("cpu")
TINY_SD = asset_path("tiny-sd")
WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET = load_file(TINY_SD / "unet" / WEIGHTS)
Layout = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny pipeline, to be saved in other ways."""
    return shutil.copytree(TINY_SD, tmp_path / "pipeline")


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rename(suffix: str, *parts: str) -> Layout:
    """Whole files of a variant in single precision."""

    def change(folder: Path) -> None:
        for part in parts:
            (file,) = (folder / part).glob("*.safetensors")
            file.rename(file.with_suffix(f".{suffix}.safetensors"))

    return change


def shards(variant: str | None = None) -> Layout:
    def change(folder: Path) -> None:
        unet = UNet2DConditionModel.from_pretrained(folder / "unet")
        shutil.rmtree(folder / "unet")
        unet.save_pretrained(folder / "unet", max_shard_size="4MB", variant=variant)
        assert len(list((folder / "unet").glob("*-of-*"))) > 2

    return change


def legacy_shards(folder: Path) -> None:
    """As releases before 0.32 named a variant's shards and index."""
    shards("fp16")(folder)
    for file in (folder / "unet").glob("*.fp16-*"):
        name = file.name.replace(".fp16-", "-").replace(".safetensors", ".fp16.safetensors")
        file.rename(file.with_name(name))
    (index,) = (folder / "unet").glob("*.index.fp16.json")
    said = json.loads(index.read_text())
    said["weight_map"] = {
        tensor: name.replace(".fp16-", "-").replace(".safetensors", ".fp16.safetensors")
        for tensor, name in said["weight_map"].items()
    }
    index.unlink()
    index.with_name("diffusion_pytorch_model.safetensors.fp16.index.json").write_text(
        json.dumps(said)
    )


def sharded_text(folder: Path) -> None:
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    (folder / "text_encoder" / "model.safetensors").unlink()
    encoder.save_pretrained(folder / "text_encoder", max_shard_size="200KB")
    assert (folder / "text_encoder" / "model.safetensors.index.json").is_file()


def pickled(variant: str = "") -> Layout:
    """All parts but the UNet as pickles."""

    def change(folder: Path) -> None:
        for part, stem in (("vae", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
            (file,) = (folder / part).glob("*.safetensors")
            torch.save(load_file(file), folder / part / f"{stem}{variant}.bin")
            file.unlink()

    return change


def garbage_beside(name: str, part: str = "unet") -> Layout:
    """Weights of another variant that must not be taken, as they are all zero."""

    def change(folder: Path) -> None:
        (file,) = (folder / part).glob("*.safetensors")
        zeros = {name: torch.zeros_like(one) for name, one in load_file(file).items()}
        save_file(zeros, folder / part / name)

    return change


def pickle_beside_variant(folder: Path) -> None:
    rename("fp16", "unet")(folder)
    pickle_beside(folder)


def pickle_beside(folder: Path) -> None:
    torch.save({"conv_in.weight": torch.zeros(1)}, folder / "unet" / "diffusion_pytorch_model.bin")


LAYOUTS: dict[str, Layout] = {
    "plain": lambda _: None,
    "fp32 names": rename("fp32", "unet", "vae", "text_encoder"),
    "fp16 names": rename("fp16", "unet", "vae", "text_encoder"),
    "non-EMA names": rename("non_ema", "unet"),
    "names of no convention": rename("pruned", "unet"),
    "mixed": rename("fp16", "vae"),
    "shards": shards(),
    "shards of a variant": shards("fp16"),
    "shards of a variant, old names": legacy_shards,
    "shards of the text encoder": sharded_text,
    "pickles but for the UNet": pickled(),
    "pickles of a variant": pickled(".fp16"),
    "a zero half-precision UNet beside": garbage_beside("diffusion_pytorch_model.fp16.safetensors"),
    "a zero non-EMA UNet beside": garbage_beside("diffusion_pytorch_model.non_ema.safetensors"),
    "a zero decoder beside": garbage_beside("diffusion_pytorch_model.fp16.safetensors", "vae"),
    "a zero encoder beside": garbage_beside("model.fp16.safetensors", "text_encoder"),
    "a pickled UNet beside": pickle_beside,
    "a pickled UNet beside a variant": pickle_beside_variant,
}


USUAL = {
    "plain",
    "fp16 names",
    "shards of a variant, old names",
    "pickles but for the UNet",
    "a zero half-precision UNet beside",
    "a pickled UNet beside a variant",
}
"""Layouts that the fast suite takes the whole way; the others go it in the slow one."""
ALL_THE_WAY = [
    pytest.param(name, marks=[] if name in USUAL else pytest.mark.slow) for name in LAYOUTS
]


def outputs(parts: Components) -> list[Tensor]:
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    latents = parts.encode_images(image)
    return [parts.encode_text(["a red house"]), latents, parts.decode_latents(latents)]


@pytest.fixture(scope="module")
def expected() -> list[Tensor]:
    return outputs(load_teacher(open_pipeline("tiny"), CPU))


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


@pytest.mark.parametrize("layout", ALL_THE_WAY)
def test_each_layout_of_weights_is_the_same_teacher(
    layout: str, folder: Path, expected: list[Tensor]
) -> None:
    LAYOUTS[layout](folder)
    teacher, whole = load_teacher(open_pipeline(str(folder)), CPU), load_pipeline(str(folder), CPU)
    assert same(teacher.unet_state, UNET)
    assert same(whole.unet.state_dict(), UNET)
    for found in (outputs(teacher), outputs(whole.components)):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert [problem.code for problem in check_unet(folder).problems] == []
    student = sdsearch.inherit_unet(tiny_member(), folder)
    assert same(student.state_dict(), UNET)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pipeline_of_its_listed_files_alone_loads_the_same(
    layout: str, folder: Path, tmp_path: Path, expected: list[Tensor]
) -> None:
    LAYOUTS[layout](folder)
    alone = tmp_path / "alone"
    for part, file in list_files(open_pipeline(str(folder))):
        (alone / part).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, alone / part)
    shutil.copy(folder / "model_index.json", alone)
    teacher = load_teacher(open_pipeline(str(alone)), CPU)
    assert same(teacher.unet_state, UNET)
    found = outputs(teacher)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("layout", ALL_THE_WAY)
def test_the_parts_of_each_layout_are_exported_as_the_stock_class_loads_them(
    layout: str, folder: Path, tmp_path: Path
) -> None:
    LAYOUTS[layout](folder)
    pipeline = open_pipeline(str(folder))
    parts, lacking = read_parts(pipeline)
    out = tmp_path / "export"
    out.mkdir()
    for part in (*parts, read_part(pipeline, "unet")):
        write_part(part, out)
    (out / "model_index.json").write_text(describe_index(pipeline, parts, INPAINT))
    shutil.rmtree(folder)
    assert lacking == {}
    for options, dtype in (({}, torch.float32), ({"variant": "fp16"}, torch.float16)):
        loaded = StableDiffusionInpaintPipeline.from_pretrained(out, dtype=dtype, **options)
        meant = StableDiffusionInpaintPipeline.from_pretrained(TINY_SD, dtype=dtype)
        for name in ("unet", "vae", "text_encoder"):
            found = getattr(loaded, name).state_dict()
            assert same(found, getattr(meant, name).state_dict()), name


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


def paint(folder: Path) -> object:
    return load_pipeline(str(folder), CPU)


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


def lose_index(folder: Path) -> None:
    shards()(folder)
    next((folder / "unet").glob("*.index.json")).unlink()


def lose_shard(folder: Path) -> None:
    shards()(folder)
    sorted((folder / "unet").glob("*-of-*"))[0].unlink()


def two_variants(folder: Path) -> None:
    file = folder / "unet" / WEIGHTS
    shutil.copy(file, file.with_suffix(".a.safetensors"))
    file.rename(file.with_suffix(".b.safetensors"))


def lose_tensor(folder: Path) -> None:
    file = folder / "vae" / WEIGHTS
    state = load_file(file)
    del state["decoder.conv_out.bias"]
    save_file(state, file)


def listed(**parts: Any) -> Layout:
    return lambda folder: edit(folder / "model_index.json", **parts)


def config(part: str, **changes: Any) -> Layout:
    return lambda folder: edit(folder / part / "config.json", **changes)


def words(**changes: Any) -> Layout:
    return lambda folder: edit(folder / "tokenizer" / "tokenizer_config.json", **changes)


REFUSED: dict[str, tuple[Layout, str]] = {
    "shards without index": (lose_index, "need an index"),
    "an index without a shard": (lose_shard, "00001-of-"),
    "two variants of no convention": (two_variants, "variants a, b"),
    "a decoder without a tensor": (lose_tensor, "decoder.conv_out.bias"),
    "no UNet listed, as in SD3": (listed(unet=None), "model_index.json: unet"),
    "no text encoder, as in image variations": (
        listed(text_encoder=[None, None]),
        "model_index.json: text_encoder",
    ),
    "another UNet class": (listed(unet=["diffusers", "UNetMotionModel"]), "UNet2DConditionModel"),
    "a decoder of no such library": (
        listed(vae=["evil", "AutoencoderKL"]),
        "model_index.json: vae",
    ),
    "a decoder for videos": (listed(vae=["diffusers", "AutoencoderKLWan"]), "AutoencoderTiny"),
    "a pooled text encoder": (
        listed(text_encoder=["transformers", "CLIPTextModelWithProjection"]),
        "CLIPTextModel",
    ),
    "T5": (listed(text_encoder=["transformers", "T5EncoderModel"]), "T5EncoderModel"),
    "another tokenizer": (listed(tokenizer=["transformers", "BertTokenizer"]), "BertTokenizer"),
    "a list that is none": (listed(vae="AutoencoderKL"), "model_index.json: vae"),
    "a scheduler of LCM": (listed(scheduler=["diffusers", "LCMScheduler"]), "LCMScheduler"),
    "a scheduler of no such library": (listed(scheduler=["evil", "X"]), "model_index.json"),
    "unCLIP": (config("unet", class_embed_type="projection"), "class_embed_type"),
    "SDXL": (config("unet", addition_embed_type="text_time"), "addition_embed_type"),
    "LCM": (config("unet", time_cond_proj_dim=256), "time_cond_proj_dim"),
    "LCM, by its pipeline": (
        listed(_class_name="LatentConsistencyModelPipeline"),
        "model_index.json: _class_name .* latent consistency model",
    ),
    "LCM, by a scheduler that the index calls another": (
        lambda folder: edit(
            folder / "scheduler" / "scheduler_config.json", _class_name="LCMScheduler"
        ),
        "_class_name in .* latent consistency model",
    ),
    "Turbo, saved from the hub": (listed(_name_or_path="stabilityai/sd-turbo"), "it is SD-Turbo"),
    "Turbo, by its UNet": (
        config("unet", _name_or_path="/a/models--stabilityai--sd-turbo/snapshots/12/unet"),
        "unet/config.json: _name_or_path .* it is SD-Turbo",
    ),
    "InstructPix2Pix": (config("unet", in_channels=8), "in_channels must be 4 or 9"),
    "depth to image": (config("unet", in_channels=5), "in_channels must be 4 or 9"),
    "video": (config("unet", _class_name="UNet3DConditionModel"), "_class_name"),
    "GLIGEN": (config("unet", attention_type="gated"), "attention_type"),
    "a decoder of 16 channels": (config("vae", latent_channels=16), "vae"),
    **{
        f"a scaling factor of {value!r}": (
            config("vae", scaling_factor=value),
            "vae/config.json: scaling_factor must be a finite number above 0",
        )
        for value in (None, "0.18", 0, -0.18215, True, float("nan"), float("inf"))
    },
    "a tokenizer of more tokens": (
        words(pad_token="<|pad|>"),
        "number of tokens of the tokenizer in .* must be 615 or fewer",
    ),
    "no token to pad with": (words(pad_token=None), "pad_token of the tokenizer in"),
    **{
        f"texts of {value!r} tokens": (words(model_max_length=value), "tokenizer in")
        for value in ("77", -1, 0, 7.5)
    },
    "a decoder of depth maps": (config("vae", out_channels=6), "vae/config.json: out_channels"),
    "a text encoder of another width": (config("text_encoder", hidden_size=96), "hidden_size"),
    "latents that are not square": (config("unet", sample_size=[16, 32]), "sample_size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_by_name_everywhere(case: str, folder: Path) -> None:
    change, said = REFUSED[case]
    change(folder)
    for load in (lambda: load_teacher(open_pipeline(str(folder)), CPU), lambda: paint(folder)):
        with pytest.raises(InputError, match=said):
            load()


@pytest.mark.parametrize("case", [name for name in REFUSED if "tensor" not in name])
def test_what_is_not_supported_is_a_problem_of_a_check(case: str, folder: Path) -> None:
    change, said = REFUSED[case]
    change(folder)
    try:
        found = report_text(check_unet(folder))
    except InputError as error:
        found = str(error)
    assert "problem" in found or said in found
    assert "no problems" not in found


def test_a_tokenizer_without_a_length_takes_that_of_the_encoder(
    folder: Path, expected: list[Tensor]
) -> None:
    file = folder / "tokenizer" / "tokenizer_config.json"
    said = json.loads(file.read_text())
    del said["model_max_length"]
    file.write_text(json.dumps(said))
    teacher = load_teacher(open_pipeline(str(folder)), CPU)
    assert torch.equal(teacher.encode_text(["a red house"]), expected[0])


def test_a_tiny_autoencoder_paints_as_in_the_stock_pipeline(folder: Path) -> None:
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        scaling_factor=0.5,
    )
    shutil.rmtree(folder / "vae")
    vae.save_pretrained(folder / "vae")
    listed(vae=["diffusers", "AutoencoderTiny"])(folder)
    teacher = load_teacher(open_pipeline(str(folder)), CPU)
    image = torch.linspace(-1, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    with torch.no_grad():
        meant = vae.eval().encode(image).latents * 0.5
        decoded = vae.decode(meant / 0.5).sample
    latents = teacher.encode_images(image)
    assert teacher.latent_factor == 4
    assert torch.allclose(latents, meant, atol=1e-5)
    assert torch.allclose(teacher.decode_latents(latents), decoded, atol=1e-5)


def test_costs_are_those_of_the_unets_own_size_which_is_printed(tmp_path: Path) -> None:
    small = sdsearch.Architecture.parse("bk-small")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(unet_config(small, SD21)))
    report = check_unet(file)
    at_96 = sdsearch.unet_cost(small, SD21)
    assert report.costs is not None
    assert report.costs.latent_size == 96
    assert report.costs.macs_conv_linear == at_96.macs.conv_linear
    assert "at 96 x 96 latents" in report_text(report)


# Hub ids


class NetworkError(Exception):
    """Something asked for the network."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NetworkError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


REVISION = "0123456789abcdef0123456789abcdef01234567"


def fill_cache(cache: Path, source: Path, repository: str = "owner/tiny") -> Path:
    """The hub's cache as a download leaves it: blobs, a reference, and a snapshot of links."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / REVISION
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(REVISION)
    (home / "blobs").mkdir()
    for number, file in enumerate(sorted(source.rglob("*"))):
        if file.is_file():
            blob = home / "blobs" / f"{number:040x}"
            shutil.copy(file, blob)
            link = snapshot / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None) -> Path:
    """An empty hub cache of which this process and those that it starts know, without network."""
    place = tmp_path / "hub"
    place.mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(place))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return place


def test_a_hub_id_in_the_cache_is_the_same_teacher(cache: Path, expected: list[Tensor]) -> None:
    snapshot = fill_cache(cache, TINY_SD)
    pipeline = open_pipeline("owner/tiny")
    assert (pipeline.folder, pipeline.revision) == (snapshot, REVISION)
    teacher = load_teacher(pipeline, CPU)
    assert teacher.revision == REVISION
    found = outputs(teacher)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert load_pipeline("owner/tiny", CPU).name == "tiny"
    assert check_unet("owner/tiny").problems == ()
    assert same(sdsearch.inherit_unet(tiny_member(), "owner/tiny").state_dict(), UNET)


@pytest.mark.parametrize("lost", ["vae/" + WEIGHTS, "text_encoder/config.json", "model_index.json"])
def test_a_hub_id_that_is_not_whole_says_so_without_network(lost: str, cache: Path) -> None:
    (fill_cache(cache, TINY_SD) / lost).unlink()
    with pytest.raises(InputError, match=r"owner/tiny.*in the cache.*HF_TOKEN"):
        open_pipeline("owner/tiny")


def test_only_the_needed_files_of_a_hub_id_are_downloaded(
    cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/openvino_model.bin"):
        shutil.copy(folder / "unet" / WEIGHTS, folder / name)
    (folder / "safety_checker").mkdir()
    for name in ("v1-5-pruned.ckpt", "safety_checker/model.safetensors", "unet/flax_model.msgpack"):
        (folder / name).write_bytes(b"never read")
    asked: list[str] = []

    def names(*_: object) -> list[str]:
        return [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]

    def download(_: object, *, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        for name in allow_patterns:
            place = cache.parent / "got" / REVISION / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, place)
        return str(cache.parent / "got" / REVISION)

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", names)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda _, name: str(folder / name))
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    pipeline = open_pipeline("owner/tiny")
    read = {file.relative_to(pipeline.folder).as_posix() for _, file in list_files(pipeline)}
    assert set(asked) == read | {"model_index.json", "README.md"}
    assert pipeline.revision == REVISION
    asked.clear()
    open_pipeline("owner/tiny", ("unet",))
    assert {name.split("/")[0] for name in asked} == {"unet", "model_index.json", "README.md"}


OFFLINE = """
import socket

def refuse(self, address, *_):
    if self.family != socket.AF_UNIX:
        raise RuntimeError(f"the network was asked for {address}")

socket.socket.connect = refuse
"""
QUICK: dict[str, Any] = {
    "space": {"name": "tiny", "labels": 2},
    "protocol": {
        "samples": 8,
        "block_size": 8,
        "steps": 1,
        "feature_size": 32,
        "recovery": {"steps": 0},
    },
    "build": {"top": 1, "budget": {"params": {"share": 0.6}}},
}


@pytest.mark.slow
def test_a_hub_id_goes_through_the_whole_journey_without_network(
    cache: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards("fp16")(folder)
    pickled()(folder)
    listed(safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])(folder)
    fill_cache(cache, folder)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(OFFLINE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
    study = sdsearch.create_study(tmp_path / "study", teacher="owner/tiny", **QUICK)
    assert study.run().is_file()
    labels = study.folder.labels.read_all()
    assert len(labels) >= 6
    assert {label.status for label in labels} == {"ok"}
    assert {label.provenance["teacher_revision"] for label in labels} == {REVISION}
    (exported,) = study.export()
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(exported, local_files_only=True)
    assert pipeline.safety_checker is None
    assert same(pipeline.vae.state_dict(), load_file(TINY_SD / "vae" / WEIGHTS))


# Any JSON

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=5) | st.dictionaries(st.text(max_size=8), one)
)
ENTRIES = st.fixed_dictionaries(
    {"_class_name": st.text(max_size=8) | JSON},
    optional={name: JSON | st.lists(st.text(max_size=8), min_size=2, max_size=2) for name in PARTS},
)
KNOWN = json.loads((TINY_SD / "unet" / "config.json").read_text())
SMALL = st.integers(-1, 3) | st.lists(st.integers(0, 3), max_size=5) | st.booleans()
CHANGES = st.dictionaries(st.sampled_from(sorted(KNOWN)), JSON | SMALL, max_size=4)


def accepts_or_refuses(*calls: Callable[[], object]) -> None:
    for call in calls:
        with contextlib.suppress(InputError):
            call()


@pytest.mark.fuzz
@given(JSON | ENTRIES)
def test_any_json_as_index_is_read_or_refused(folder: Path, index: Any) -> None:
    (folder / "model_index.json").write_text(json.dumps(index))
    where = str(folder)
    accepts_or_refuses(lambda: list_files(open_pipeline(where)), lambda: check_unet(where))


@pytest.mark.fuzz
@given(JSON | CHANGES.map(lambda changes: KNOWN | changes))
def test_any_json_as_unet_config_is_read_or_refused(tmp_path: Path, said: Any) -> None:
    (tmp_path / "unet").mkdir(exist_ok=True)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "unet" / "config.json").write_text(json.dumps(said))
    accepts_or_refuses(
        lambda: teacher_backbone(str(tmp_path)),
        lambda: report_text(check_unet(tmp_path / "unet" / "config.json")),
        lambda: report_text(check_unet(tmp_path / "unet" / "config.json", against="tiny")),
    )


def test_a_config_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="readable JSON"):
        check_unet(tmp_path)


def test_the_tiny_config_is_known() -> None:
    assert teacher_backbone(str(TINY_SD)) == TINY


def test_the_tiny_teacher_does_not_hide_a_pipeline_in_a_folder_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert locate_pipeline("tiny") == asset_path("tiny-sd")
    (tmp_path / "tiny" / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"'tiny' is the teacher .* write '\./tiny' for the"):
        locate_pipeline("tiny")
    assert locate_pipeline("./tiny") == Path("tiny")
