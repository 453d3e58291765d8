"""A part of a teacher in an export: the same bytes, whatever layout it lies in, and its half."""

from __future__ import annotations

import json
import os
import shutil
import stat
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from sdsearch.errors import InputError, WorkError
from sdsearch.export.index import read_parts
from sdsearch.export.parts import write_part
from sdsearch.pipelines.folder import open_pipeline, read_part
from tests.fakes import checked_teacher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VAE, TEXT = "diffusion_pytorch_model.safetensors", "model.safetensors"
WITH_WEIGHTS = ("vae", "text_encoder", "safety_checker", "image_encoder")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a release before transformers 5 saves it: older names, and no place in a config."""
    folder = checked_teacher(tmp_path_factory.mktemp("checked") / "teacher")
    for name, inner in (("text_encoder", "text_model."), ("safety_checker", "vision_model.")):
        file = folder / name / TEXT
        tensors = load_file(file)
        kept = {} if name == "text_encoder" else {"concept", "special", "visual"}
        save_file(
            {
                one if one.split("_")[0] in kept else f"{inner}{one}": tensor
                for one, tensor in tensors.items()
            },
            file,
            {"format": "pt"},
        )
    return folder


@pytest.fixture
def folder(teacher: Path, tmp_path: Path) -> Path:
    return shutil.copytree(teacher, tmp_path / "teacher")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    place = tmp_path / "export"
    place.mkdir()
    return place


def write(folder: Path, out: Path, name: str) -> Path:
    write_part(read_part(open_pipeline(str(folder)), name), out)
    return out / name


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def restore(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    save_file(change(load_file(file)), file, {"format": "pt"})


def test_every_file_that_is_read_is_copied_byte_for_byte(folder: Path, out: Path) -> None:
    parts, _ = read_parts(open_pipeline(str(folder)))
    for part in parts:
        write_part(part, out)
        for file in part.files:
            assert same_bytes(file, out / part.name / file.name), file
        half = {"tokenizer.json", "vocab.json", "merges.txt"} if part.name == "tokenizer" else set()
        if part.weights:
            stem = "diffusion_pytorch_model" if part.library == "diffusers" else "model"
            half = {f"{stem}.fp16.safetensors"}
        assert names(out / part.name) == {file.name for file in part.files} | half
    assert {part.name for part in parts} == {*WITH_WEIGHTS, "tokenizer", "scheduler"} | {
        "feature_extractor"
    }


def test_nothing_that_lies_beside_is_copied(folder: Path, out: Path) -> None:
    vae = folder / "vae"
    for name in (".git", ".cache"):
        (vae / name).mkdir()
        (vae / name / "config.json").write_text("{}")
    for name in (
        "diffusion_flax_model.msgpack",
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model.non_ema.safetensors",
        "openvino_model.xml",
        ".DS_Store",
        "README.md",
        "vae-ft-mse.ckpt",
    ):
        (vae / name).write_bytes(b"stray")
    assert names(write(folder, out, "vae")) == {
        "config.json",
        VAE,
        "diffusion_pytorch_model.fp16.safetensors",
    }


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_half_files_are_half_and_hold_the_rounded_values(
    name: str, folder: Path, out: Path
) -> None:
    target = write(folder, out, name)
    (half,) = target.glob("*.fp16.safetensors")
    meant = load_file(next(folder.joinpath(name).glob("*.safetensors")))
    found = load_file(half)
    assert {one.dtype for one in found.values() if one.is_floating_point()} == {torch.float16}
    assert same(found, {name: one.half() for name, one in meant.items()})


@pytest.mark.parametrize("index", ["diffusion_pytorch_model.safetensors.index.json", None])
def test_shards_are_copied_as_shards(index: str | None, folder: Path, out: Path) -> None:
    name = "vae" if index else "text_encoder"
    kind: Any = AutoencoderKL if index else CLIPTextModel
    whole = kind.from_pretrained(folder / name)
    next((folder / name).glob("*.safetensors")).unlink()
    whole.save_pretrained(folder / name, max_shard_size="20KB")
    shards = sorted((folder / name).glob("*-of-*"))
    assert len(shards) > 2
    target = write(folder, out, name)
    for file in (*shards, *(folder / name).glob("*.index.json")):
        assert same_bytes(file, target / file.name)
    assert same(kind.from_pretrained(target).state_dict(), whole.state_dict())
    half = kind.from_pretrained(target, variant="fp16", dtype=torch.float16).state_dict()
    assert same(half, {name: one.half() for name, one in whole.state_dict().items()})


def test_shards_of_a_variant_get_the_names_of_none(folder: Path, out: Path) -> None:
    whole = AutoencoderKL.from_pretrained(folder / "vae").half()
    (folder / "vae" / VAE).unlink()
    whole.save_pretrained(folder / "vae", max_shard_size="20KB", variant="fp16")
    shards = sorted((folder / "vae").glob("*-of-*"))
    target = write(folder, out, "vae")
    for file in shards:
        assert same_bytes(file, target / file.name.replace(".fp16-", "-"))
    assert not [name for name in names(target) if ".fp16-" in name]
    assert same(AutoencoderKL.from_pretrained(target).half().state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_a_half_precision_variant_alone_is_copied_under_the_plain_name(
    name: str, folder: Path, out: Path
) -> None:
    (file,) = (folder / name).glob("*.safetensors")
    restore(file, lambda held: {one: tensor.half() for one, tensor in held.items()})
    source = file.rename(file.with_suffix(".fp16.safetensors"))
    target = write(folder, out, name)
    assert same_bytes(source, target / file.name)
    assert same_bytes(source, target / source.name)


@pytest.mark.parametrize(
    ("name", "pickle", "archive"),
    [
        ("vae", "diffusion_pytorch_model.bin", True),
        ("vae", "diffusion_pytorch_model.fp16.bin", True),
        ("text_encoder", "pytorch_model.bin", False),
        ("safety_checker", "pytorch_model.bin", True),
    ],
)
def test_pickles_become_safetensors_of_the_same_tensors(
    name: str, pickle: str, archive: bool, folder: Path, out: Path
) -> None:
    (file,) = (folder / name).glob("*.safetensors")
    meant = load_file(file)
    torch.save(meant, folder / name / pickle, _use_new_zipfile_serialization=archive)
    file.unlink()
    target = write(folder, out, name)
    assert not list(target.glob("*.bin"))
    assert same(load_file(target / file.name), meant)


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch pwned",)


def test_a_pickle_of_more_than_tensors_is_refused(
    folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out)
    (folder / "vae" / VAE).unlink()
    torch.save({"a": Evil()}, folder / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match="pickle of tensors only"):
        write(folder, out, "vae")
    assert not (out / "pwned").exists()


def test_links_into_a_cache_become_files(folder: Path, out: Path, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.rglob("*"))):
        if file.is_file():
            file.rename(blobs / str(number))
            file.symlink_to(blobs / str(number))
    for part in read_parts(open_pipeline(str(folder)))[0]:
        write_part(part, out)
    shutil.rmtree(blobs)
    written = [path for path in out.rglob("*") if not path.is_dir()]
    assert len(written) > 10
    assert all(path.is_file() and not path.is_symlink() for path in written)


def test_a_teacher_that_only_may_be_read_gives_an_export_that_may_be_removed(
    folder: Path, out: Path
) -> None:
    for path in (*folder.rglob("*"), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        for part in read_parts(open_pipeline(str(folder)))[0]:
            write_part(part, out)
        assert all(path.stat().st_mode & stat.S_IWUSR for path in out.rglob("*"))
    finally:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


@pytest.mark.parametrize("name", ["text_encoder", "safety_checker"])
def test_weights_without_the_tower_that_older_loaders_look_for_get_it(
    name: str, folder: Path, out: Path
) -> None:
    meant = load_file(folder / name / TEXT)
    inner = "text_model." if name == "text_encoder" else "vision_model."
    restore(
        folder / name / TEXT,
        lambda held: {one.removeprefix(inner): tensor for one, tensor in held.items()},
    )
    assert load_file(folder / name / TEXT).keys() != meant.keys()
    target = write(folder, out, name)
    assert same(load_file(target / TEXT), meant)
    assert load_file(target / "model.fp16.safetensors").keys() == meant.keys()


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt", "source": "/home/me/sd.ckpt"}, {"format": "np"}]
)
def test_what_a_file_says_of_itself_is_what_loaders_ask_for_and_no_more(
    metadata: dict[str, str] | None, folder: Path, out: Path
) -> None:
    file = folder / "text_encoder" / TEXT
    meant = load_file(file)
    save_file(meant, file, metadata)
    target = write(folder, out, "text_encoder")
    for name in (TEXT, "model.fp16.safetensors"):
        with safe_open(target / name, "pt") as held:
            assert held.metadata() == {"format": "pt"}
    assert same(load_file(target / TEXT), meant)


def test_a_config_loses_the_places_in_it_and_nothing_else(folder: Path, out: Path) -> None:
    for name in ("vae/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json"):
        before = json.loads((folder / name).read_text())
        edit(folder / name, _name_or_path="/home/me/sd", tokenizer_file="/root/.cache/x.json")
        part = name.split("/")[0]
        write(folder, out, part)
        assert json.loads((out / name).read_text()) == before


@pytest.mark.parametrize("said", ["float16", None])
def test_a_text_encoder_in_half_loads_in_single_beside_a_unet_in_single(
    said: str | None, folder: Path, out: Path
) -> None:
    file = folder / "text_encoder" / TEXT
    restore(file, lambda held: {one: tensor.half() for one, tensor in held.items()})
    config = folder / "text_encoder" / "config.json"
    held = json.loads(config.read_text())
    held.pop("dtype")
    config.write_text(json.dumps(held | ({"torch_dtype": said} if said else {})))
    target = write(folder, out, "text_encoder")
    assert same_bytes(file, target / TEXT)
    assert CLIPTextModel.from_pretrained(target).dtype == torch.float32
    assert CLIPTextModel.from_pretrained(target, dtype=torch.float16).dtype == torch.float16


@pytest.mark.parametrize("name", ["vae", "safety_checker"])
def test_weights_beyond_half_precision_are_refused(name: str, folder: Path, out: Path) -> None:
    (file,) = (folder / name).glob("*.safetensors")
    restore(file, lambda held: {one: tensor * 1e6 for one, tensor in held.items()})
    with pytest.raises(WorkError, match="half precision"):
        write(folder, out, name)


def test_the_stock_class_takes_the_parts_in_single_and_in_half(folder: Path, out: Path) -> None:
    pipeline = open_pipeline(str(folder))
    parts, _ = read_parts(pipeline)
    for part in (*parts, read_part(pipeline, "unet")):
        write_part(part, out)
    shutil.copy(folder / "model_index.json", out)
    for options, dtype in (({}, torch.float32), ({"variant": "fp16"}, torch.float16)):
        loaded = StableDiffusionInpaintPipeline.from_pretrained(out, dtype=dtype, **options)
        kinds = {getattr(loaded, name).dtype for name in (*WITH_WEIGHTS, "unet")}
        assert kinds == {dtype}
