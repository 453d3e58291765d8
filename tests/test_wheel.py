"""The wheel by itself: built, installed into an empty environment, run away from the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sdsearch.study.folder import read_study
from sdsearch.study.listing import read_designs
from tests.stages.test_journey import STOCK, sample_with_harness

ROOT = Path(__file__).resolve().parent.parent

# One design is measured, so that this takes a minute and not four; the labels are the shipped ones.
ONE_DESIGN = """
[protocol]
masks = "thick"
samples = 96
guidance = 2.0
threads = 1
[build]
methods = ["autobuild"]
top = 1
budget = { params = { share = 0.60 } }
"""


@pytest.mark.slow
def test_the_installed_wheel_runs_the_journey_on_the_tiny_pipeline_that_it_holds(
    tmp_path: Path,
) -> None:
    def call(*line: str | Path) -> str:
        done = subprocess.run(
            line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        assert done.returncode == 0, done.stdout.decode()
        return done.stdout.decode()

    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", tmp_path, ROOT)
    wheel = next(tmp_path.glob("sdsearch-*.whl"))
    assert wheel.stat().st_size < 20_000_000
    call(sys.executable, "-m", "venv", "env")
    python, command = tmp_path / "env/bin/python", tmp_path / "env/bin/sdsearch"
    torch = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.__version__.split('+')[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    call(python, "-m", "pip", "install", "--quiet", f"torch=={torch}")
    call(python, "-m", "pip", "install", "--quiet", wheel)
    names = "a.TINY_TEACHER, a.TINY_TABLE, a.TINY_DESIGNS, a.TINY_PROBE"
    where = f"import sdsearch.assets as a; print(*map(a.asset_path, ({names}))); "
    where += "print(*a.preset_files().values())"
    lines = call(python, "-c", where).split()
    assert len(lines) == 7, "with three presets"
    for line in lines:
        assert Path(line).is_relative_to(tmp_path / "env")
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.toml").write_text(ONE_DESIGN)
    said = call(command, "run", "study")
    assert "imported" in said
    assert (study / "report.html").is_file()
    assert (study / "pipelines/autobuild-1/model_index.json").is_file()
    # From here on the environment has diffusers, transformers and torch, and no sdsearch.
    call(python, "-m", "pip", "uninstall", "--quiet", "--yes", "sdsearch")
    call(python, "-c", "from importlib.util import find_spec; assert find_spec('sdsearch') is None")
    made = read_study(study)
    (design,) = read_designs(made)
    ours = sample_with_harness(made, design.arch_key, tmp_path / "inputs.safetensors")
    folder = made.pipelines_dir / design.name
    call(python, "-c", STOCK.format(folder=str(folder), inputs=tmp_path))
    stock = np.load(tmp_path / "stock.npy")
    assert np.abs(stock.astype(int) - ours.astype(int)).max() <= 2
