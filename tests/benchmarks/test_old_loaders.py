from __future__ import annotations

import copy
import importlib
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.load_export import OURS, shut_out
from benchmarks.old_loaders import TINY, compare, main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Found = tuple[dict[str, Any], dict[str, Any]]
PART = {"dtype": "torch.float32", "values": "5f0c"}
SAID = {"class": TINY[0].kind, "tokens": [[1, 2]], "unet": PART, "vae": PART}


def found() -> Found:
    said = {"versions": {"diffusers": "0.31.0"}, "sdsearch": "none", "plain": SAID, "fp16": SAID}
    return copy.deepcopy(said), {"image": np.linspace(0, 1, 12).reshape(2, 2, 3)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "study" / "pipelines" / "autobuild-1"
    made.mkdir(parents=True)
    return made


def test_what_is_the_same_but_for_rounding_is_no_difference(folder: Path) -> None:
    today, old = found(), found()
    old[1]["image"] += 1e-6
    assert compare(TINY[0], folder, today, old) == 0


def other_values(old: Found) -> None:
    old[0]["fp16"]["vae"]["values"] = "77a1"


def lost_part(old: Found) -> None:
    del old[0]["plain"]["vae"]


def other_precision(old: Found) -> None:
    old[0]["plain"]["vae"]["dtype"] = "torch.float16"


def other_tokens(old: Found) -> None:
    old[0]["plain"]["tokens"] = [[1, 3]]


def other_image(old: Found) -> None:
    old[1]["image"][0, 0, 0] += 1e-3


def no_number(old: Found) -> None:
    old[1]["image"][0, 0, 0] = float("nan")


def nothing_painted(old: Found) -> None:
    old[1].clear()


@pytest.mark.parametrize(
    "change",
    [
        other_values,
        lost_part,
        other_precision,
        other_tokens,
        other_image,
        no_number,
        nothing_painted,
    ],
)
def test_each_difference_is_counted(change: Callable[[Found], None], folder: Path) -> None:
    old = found()
    change(old)
    assert compare(TINY[0], folder, found(), old) > 0


def test_a_class_that_the_task_does_not_ask_for_is_a_difference_though_both_agree(
    folder: Path,
) -> None:
    (words,) = (case for case in TINY if case.task == "text-to-image")
    assert (words.kind, TINY[0].kind) == ("StableDiffusionPipeline", SAID["class"])
    assert compare(words, folder, found(), found()) == 2


def test_a_package_cannot_be_imported_once_it_is_shut_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not_to_be_used.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert shut_out(("no_such_package",)) == "not installed"
        assert shut_out(("not_to_be_used",)) == "installed, shut out"
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("not_to_be_used")
    finally:
        for name in ("no_such_package", "not_to_be_used"):
            sys.modules.pop(name, None)
    assert "sdsearch" in OURS


def test_an_image_of_one_colour_proves_nothing(folder: Path) -> None:
    blank, other = found(), found()
    blank[1]["image"][:] = 0
    other[1]["image"][:] = 0
    assert compare(TINY[0], folder, blank, other) == 1


def test_a_place_in_a_file_is_a_difference(folder: Path) -> None:
    (folder / "config.json").write_text(str(folder.parents[2]))
    assert compare(TINY[0], folder, found(), found()) == 1


@pytest.mark.slow
def test_the_check_runs_with_todays_releases_on_both_sides(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert main(["--tiny", "--old", sys.executable]) == 0
    said = capfd.readouterr().out
    assert said.count("alike, bit for bit") == 2 * len(TINY)
    assert said.count("image: at most 0 apart") == len(TINY)
    assert said.endswith("no differences\n")
