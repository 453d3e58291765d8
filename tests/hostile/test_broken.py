"""Two hundred broken inputs: each is read or refused in words, and costs what its files hold."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from sdsearch.adapters import write_lora
from sdsearch.assets import preset_files
from sdsearch.check import check_unet
from sdsearch.errors import InputError
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.store import read_label_table, write_label_table
from sdsearch.space.lookup import find_member
from sdsearch.space.space import search_space
from sdsearch.study.folder import read_study
from sdsearch.study.listing import read_designs, read_sample
from sdsearch.study.preset import read_preset
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.backbone import TINY
from sdsearch.unet.config import unet_config
from sdsearch_eval.data.samples import load_samples
from sdsearch_eval.metrics.references import read_gaussian
from tests.fakes import (
    fake_teacher,
    list_members,
    make_design,
    make_study,
    measured,
    tiny_member,
    write_designs,
)
from tests.hostile.broken import break_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no pipes in a file's place")
FAST, ALL = 20, 200
SECONDS = 120
"""After which a case hangs, on a busy machine."""
MODULES = 20_000
"""Layers that a case may build: the tiny pipeline has a few hundred."""
TOML = """
[space]
labels = 3
[protocol]
steps = 4
samples = 8
masks = "box"
[ranker]
target = "fd_efflite0"
"""
ATTENTION = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each reader, of what it accepts; reading that once imports what it needs."""
    root = tmp_path_factory.mktemp("sound")
    arch = tiny_member("bk-tiny")
    for name in READERS:
        (root / name).mkdir()
    fake_teacher(root / "pipeline")
    for number in range(3):
        Image.new("RGB", (64, 64), (number, 90, 9)).save(root / "photos" / f"{number}.png")
    rows = (f'{{"file_name": "{n}.png", "text": "a lake"}}\n' for n in range(3))
    (root / "photos" / "metadata.jsonl").write_text("".join(rows))
    study = make_study(root / "study", TOML)
    list_members(study, [arch, tiny_member("bk-small")])
    write_designs(study, [make_design(arch, "autobuild", 1)])
    study.labels.write(measured(arch, 200.0, 3.0))
    table = [measured(arch, 1.0), measured(tiny_member(), 2.0)]
    write_label_table(root / "table" / "labels.jsonl", table)
    np.savez(root / "statistics" / "a.npz", mu=np.zeros(8), sigma=np.eye(8))
    sides = {"lora_A": (4, 32), "lora_B": (32, 4)}
    tensors = {f"{ATTENTION}.{side}.weight": np.zeros(n, np.float32) for side, n in sides.items()}
    save_file(tensors, root / "lora" / "a.safetensors")
    shutil.copy(preset_files()["places2"], root / "preset" / "own.toml")
    (root / "member" / "config.json").write_text(json.dumps(unet_config(arch, TINY)))
    for name, read in READERS.items():
        read(root / name)
    return root


def read_all_of(folder: Path) -> None:
    study = read_study(folder)
    read_sample(study)
    read_designs(study)
    for label in study.labels.read_all():
        say_values(label)


def say_values(label: Any) -> list[float]:
    return [label.scalar(name) for name in label.values]


READERS: dict[str, Callable[[Path], object]] = {
    "pipeline": lambda folder: str(check_unet(folder)),
    "study": read_all_of,
    "table": lambda folder: [*map(say_values, read_label_table(folder / "labels.jsonl"))],
    "preset": lambda folder: read_preset(str(folder / "own.toml")),
    "statistics": lambda folder: read_gaussian(folder / "a.npz", 8),
    "lora": lambda folder: write_lora(folder / "a.safetensors", UNPRUNED, TINY, folder / "out"),
    "member": lambda folder: find_member(str(folder / "config.json"), search_space("tiny")),
    "photos": lambda folder: load_samples(
        Protocol(dataset=str(folder), masks="box", samples=2, resolution=64)
    ),
}


def try_case(number: int, sound: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, rng = sorted(READERS)[number % len(READERS)], random.Random(number)
    folder = place / name
    shutil.copytree(sound / name, folder, copy_function=os.link)
    file = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    what = break_file(file, rng)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    built = count_modules(monkeypatch)
    before = bytes_read()
    with ended_in_time(f"{file.relative_to(folder)}: {what}"), suppress(InputError):
        refusing_unprintable(READERS[name], folder)
    assert bytes_read() - before <= 4 * size + 4_000_000, what
    assert len(built) <= MODULES, what


def refusing_unprintable(read: Callable[[Path], object], folder: Path) -> None:
    try:
        read(folder)
    except InputError as error:
        str(error).encode()
        raise


def count_modules(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    built: list[None] = []
    begin = torch.nn.Module.__init__

    def count(self: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        built.append(None)
        assert len(built) <= MODULES, "it builds without end"
        begin(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__init__", count)
    return built


def bytes_read() -> int:
    process = psutil.Process()
    counted = hasattr(process, "io_counters")  # not on every system
    return process.io_counters().read_chars if counted else 0


@contextmanager
def ended_in_time(what: str) -> Iterator[None]:
    def end(*_: object) -> None:
        pytest.fail(f"it hangs: {what}")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("number", range(FAST))
def test_a_broken_input_is_read_or_refused_in_words(number, sound, tmp_path, monkeypatch):
    try_case(number, sound, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(FAST, ALL))
def test_each_of_many_broken_inputs_is_read_or_refused_in_words(
    number, sound, tmp_path, monkeypatch
):
    try_case(number, sound, tmp_path, monkeypatch)
