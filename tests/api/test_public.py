"""The public interface: its names, their examples, and what importing it costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import sdsearch

NAMES = [
    "Architecture",
    "Backbone",
    "InputError",
    "Study",
    "StudyDesign",
    "WorkError",
    "__version__",
    "check_unet",
    "create_study",
    "draw_unet",
    "find_backbone",
    "inherit_unet",
    "load_benchmark",
    "load_study",
    "search_space",
    "unet_cost",
]
FUNCTIONS = [name for name in NAMES if name.islower() and name != "__version__"]
ROOT = Path(__file__).parents[2]
DOCUMENTED = [name for name in NAMES if name != "__version__"]


def test_the_public_names_are_these() -> None:
    assert sdsearch.__all__ == NAMES
    assert set(NAMES) <= set(dir(sdsearch))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_has_an_example(name: str) -> None:
    """`tests/test_doctests.py` runs it."""
    assert ">>>" in (getattr(sdsearch, name).__doc__ or "")


def test_every_public_method_says_what_it_does() -> None:
    for kind in (sdsearch.Study, sdsearch.StudyDesign):
        fields = set(kind.__dataclass_fields__)  # described by the class
        named = {n: v for n, v in vars(kind).items() if not n.startswith("_") and n not in fields}
        assert len(named) > 5
        assert [name for name, value in named.items() if not value.__doc__] == []


def test_importing_the_package_loads_nothing_heavy_and_takes_no_time() -> None:
    code = """
import sys, time
start = time.process_time()
import sdsearch
assert time.process_time() - start < 0.1
heavy = {"torch", "pydantic", "numpy", "pandas", "diffusers", "rich", "typer"} & set(sys.modules)
assert not heavy, heavy
assert sdsearch.InputError.__name__ == "InputError"
assert not {"torch", "pydantic", "numpy"} & set(sys.modules)
sdsearch.Study, sdsearch.search_space, sdsearch.find_backbone, sdsearch.draw_unet
assert not {"torch", "diffusers", "pandas"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_names_that_types_are_checked_by_are_those_that_are_loaded() -> None:
    tree = ast.parse(Path(sdsearch.__file__).read_text(encoding="utf-8"))
    homes = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sdsearch.")
        for alias in node.names
    }
    assert sorted([*homes, "__version__"]) == NAMES
    for name, module in homes.items():
        assert getattr(sdsearch, name) is getattr(sys.modules[module], name)


def test_the_version_is_the_installed_one_and_an_unknown_name_is_an_attribute_error() -> None:
    assert sdsearch.__version__ == version("sdsearch")
    with pytest.raises(AttributeError, match="no attribute 'creat_study'"):
        sdsearch.creat_study  # noqa: B018 (the look is what is tested)


def test_python_m_sdsearch_is_the_command_line() -> None:
    line = [sys.executable, "-m", "sdsearch", "space", "--space", "tiny"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tiny: 704,000 architectures")


def test_an_own_architecture_is_priced_drawn_and_built_in_four_lines() -> None:
    own = sdsearch.Architecture.parse("bk-small; level 0: attention up 01; mid resnet")
    cost = sdsearch.unet_cost(own, "tiny")
    picture = sdsearch.draw_unet(own, "tiny")
    unet = sdsearch.inherit_unet(own, "tiny")
    assert unet.num_parameters() == cost.params
    assert own.key in picture


def test_every_name_and_method_of_the_page_about_the_interface_exists() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(sdsearch(?:_eval)?(?:\.\w+)+)", page))
    assert len(named) > 25
    for name in named:
        value: object = import_module(name.split(".")[0])
        for at, part in enumerate(name.split(".")[1:], start=2):
            if not hasattr(value, part):
                import_module(".".join(name.split(".")[:at]))
            value = getattr(value, part)
    assert {f"sdsearch.{name}" for name in FUNCTIONS} <= named
    for kind in (sdsearch.Study, sdsearch.StudyDesign):
        public = [name for name in vars(kind) if not name.startswith("_")]
        assert [n for n in public if not re.search(rf"[`.]{n}\b", page) and n != "folder"] == []
