"""Teachers by their hub id, from a stand-in of the hub's cache, with the network refused."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from safetensors.torch import load_file

import sdsearch
from sdsearch.check.report import check_unet
from sdsearch.errors import InputError
from sdsearch.pipelines.folder import list_files, open_pipeline
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.pictures.pipelines import load_pipeline
from tests.fakes import tiny_member
from tests.intake.layouts import CPU, TINY_SD, UNET, WEIGHTS, listed, outputs, pickled, same, shards

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


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
