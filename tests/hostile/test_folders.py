"""Nothing is imported because it lies where a command was started, or in a study."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sdsearch.errors import InputError
from sdsearch.harness import harness_environment, safe_paths
from sdsearch.pipelines.folder import conversion_command
from sdsearch.pipelines.weight_files import WeightFiles
from sdsearch.replay import runs
from sdsearch.workers import ray as on_ray
from sdsearch_eval.world import open_world
from tests.fakes import make_study

ROOT = Path(__file__).resolve().parents[2]
STRAYS = (
    *("torch", "json", "sdsearch", "sdsearch_eval", "sitecustomize", "usercustomize", "conftest"),
    *("multiprocessing", "random", "signal", "typer", "pydantic", "pandas", "wandb"),
)
STARTS = (
    r"Popen\(|subprocess\.(run|call|check)|ProcessPool\w+\(|\bray\.init\(|\brun\.main\("
    r"|os\.(system|exec|posix_spawn|fork)"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A study that is the current folder too, full of modules that end whoever imports them."""
    study = make_study(tmp_path / "study")
    for name in STRAYS:
        (study.root / f"{name}.py").write_text("raise SystemExit(f'{__name__} is a stray')\n")
    monkeypatch.chdir(study.root)
    return study.root


def run_here(*line, **environment):
    home = f"{ROOT}{os.pathsep}{ROOT / 'eval'}"
    made = {**os.environ, "PYTHONPATH": home, **environment}
    return subprocess.run(line, env=made, capture_output=True, text=True, check=False)


def test_the_command_runs_in_such_a_folder(folder):
    done = run_here(sys.executable, "-P", "-m", "sdsearch", "space", ".")
    assert done.returncode == 0, done.stderr
    assert "704,000 architectures" in done.stdout


def test_the_module_keeps_nothing_of_such_a_folder(folder, tmp_path):
    (folder / "sdsearch.py").unlink()  # which Python itself takes for ours, before we are asked
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\natexit.register(lambda: print('path:', sys.path))\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    line = [sys.executable, "-m", "sdsearch", "--help"]
    done = run_here(*line, PYTHONPATH=path, PYTHONSAFEPATH="")
    assert done.returncode == 0, done.stderr
    assert "path:" in done.stdout
    assert repr(str(folder)) not in done.stdout


def test_a_process_of_ours_imports_nothing_of_such_a_folder(folder):
    line = [sys.executable, "-c", "import json, multiprocessing, random"]
    before = subprocess.run(line, capture_output=True, text=True, check=False)
    assert "stray" in before.stderr, "so it is without us"
    assert subprocess.run(line, env=harness_environment(), check=False).returncode == 0
    with safe_paths():
        assert subprocess.run(line, check=False).returncode == 0


@pytest.mark.parametrize("before", [None, "", "1"])
def test_the_environment_is_as_it_was_afterwards(before, monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with safe_paths():
        assert os.environ["PYTHONSAFEPATH"] == "1"
    assert os.environ.get("PYTHONSAFEPATH") == before


def test_replays_start_their_workers_with_safe_paths(monkeypatch):
    seen = []

    class Pool:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def map(self, *_):
            seen.append(os.environ.get("PYTHONSAFEPATH"))
            return []

    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setattr(runs, "ProcessPoolExecutor", Pool)
    pool = SimpleNamespace(probe=None)
    assert runs.run_replay(pool, ["random"], [None], 5, 1, 0) == []
    assert seen == ["1"]


def test_ray_is_started_away_from_the_current_folder(folder, monkeypatch):
    seen = []

    def note(**_):
        seen.append((Path.cwd(), os.environ.get("PYTHONSAFEPATH")))

    stub = SimpleNamespace(is_initialized=lambda: False, init=note, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", stub)
    monkeypatch.setattr(on_ray, "_run_tasks", lambda *_: seen.append(Path.cwd()))
    on_ray.label_on_ray(None, print)
    assert seen == [(Path(sys.prefix), "1"), folder], "Ray hands its folder to all its workers"


@pytest.mark.parametrize("path", [None, "", ":/a b", "/a b::", ":"])
def test_the_script_for_slurm_starts_with_safe_paths(path, folder, monkeypatch):
    (folder / "bin").mkdir()
    command = folder / "bin" / "sdsearch"
    command.write_text('#!/bin/sh\necho "$PYTHONSAFEPATH [$PYTHONPATH] $*"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    line = ["bash", str(ROOT / "scripts" / "slurm" / "label.sbatch"), "study", "--prepare"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    wanted = "/a b" if path and path.strip(":") else ""
    assert done.stdout == f"1 [{wanted}] label study --prepare\n"


def test_processes_are_started_in_places_that_are_known():
    found = {
        (str(file.relative_to(ROOT)), match[0])
        for home in ("sdsearch", "eval/sdsearch_eval")
        for file in (ROOT / home).rglob("*.py")
        for match in re.finditer(STARTS, file.read_text(encoding="utf-8"))
    }
    assert found == {
        ("sdsearch/harness.py", "Popen("),
        ("sdsearch/workers/process.py", "Popen("),
        ("sdsearch/workers/ray.py", "ray.init("),
        ("sdsearch/replay/runs.py", "ProcessPoolExecutor("),
        ("eval/sdsearch_eval/__main__.py", "run.main("),
    }
    for name in ("sdsearch/harness.py", "sdsearch/workers/process.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert len(re.findall(r"\bPopen\(", text)) == text.count("env=harness_environment()")


def test_what_users_are_advised_to_start_imports_nothing_there_either(monkeypatch):
    weights = WeightFiles(None, True, ("diffusion_pytorch_model.bin",), None)
    assert conversion_command(Path("unet"), weights).startswith("python -P -c ")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(InputError, match="with PYTHONSAFEPATH=1 torchrun"):
        open_world(2)
