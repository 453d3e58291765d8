"""The examples in docs/ run as they stand."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdsearch.labels.protocol import Protocol
from sdsearch.study.folder import read_study
from sdsearch.study.preset import read_preset
from sdsearch_eval.data.samples import load_samples

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize("name", ["tour.md", pytest.param("scores.md", marks=pytest.mark.slow)])
def test_the_examples_of_a_page_print_what_it_says(name: str) -> None:
    failed, tried = doctest.testfile(str(DOCS / name), module_relative=False)
    assert tried > 5
    assert failed == 0


def test_the_guides_study_is_a_valid_one(tmp_path: Path) -> None:
    page = (DOCS / "guide-sd14.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "study.toml").write_text(example)
    config = read_study(tmp_path).config
    assert (config.space.name, config.protocol.recovery.steps) == ("sd14", 300)


def test_the_pages_preset_of_ones_own_is_a_valid_one(tmp_path: Path) -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.toml").write_text(example)
    preset = read_preset(str(tmp_path / "mine.toml"))
    assert preset.find_departure(Protocol(samples=500, steps=30)) is None
    assert preset.published is not None


def test_the_pages_lines_lay_out_brushbench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    home = tmp_path / "BrushBench"
    (home / "images").mkdir(parents=True)
    items = {}
    for number in range(2):
        Image.new("RGB", (512, 512), (90 * number, 80, 70)).save(home / f"images/{number}.jpg")
        rows = [word for row in range(100, 200) for word in (512 * row + 301, 50 + number)]
        items[str(number)] = {
            "image": f"images/{number}.jpg",
            "inpainting_mask": rows,
            "caption": f"picture {number}",
        }
    (home / "mapping_file.json").write_text(json.dumps(items))
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "metrics.md", "exec"), {})  # noqa: S102 (it is a page of ours)
    protocol = Protocol(dataset="photos", masks="masks", resolution=512, samples=2)
    for number, sample in enumerate(load_samples(protocol)):
        assert sample.caption == f"picture {number}"
        hole = np.zeros((512, 512), bool)
        hole[100:200, 300 : 350 + number] = True
        assert np.array_equal(sample.mask == 255, hole)
