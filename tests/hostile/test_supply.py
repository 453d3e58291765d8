"""What comes from elsewhere is what was meant: weights and packages are known by their hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.list_licences import PAGE, find_wanted, list_licences, read_page
from sdsearch.keys import file_sha256

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = {"run": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
PLACES = (
    r"://|\bfile:|\s@\s|^\s*-(i|f|e|-index|-extra-index|-find-links|-editable|-trusted)|==[^\s;]*\+"
)
"""What names where a package is to be had, or a build of one machine."""


def read_lock(name):
    """Package -> its version in a lock."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def test_every_hash_of_weights_in_the_code_is_whole():
    files = [*(ROOT / "sdsearch").rglob("*.py"), *(ROOT / "eval").rglob("*.py")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    hashes = re.findall(r"^\w*SHA256 = \"(.*)\"$", code, re.MULTILINE)
    assert len(hashes) == 4
    assert [one for one in hashes if not re.fullmatch(r"[0-9a-f]{64}", one)] == []


def test_all_weights_of_this_repository_are_listed_with_their_hashes():
    home = ROOT / "assets"
    listed = dict(
        reversed(line.split("  "))
        for line in (home / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )
    weights = [*home.rglob("*.safetensors"), *home.rglob("*.bin"), *home.rglob("*.pth")]
    assert listed == {file.relative_to(home).as_posix(): file_sha256(file) for file in weights}


@pytest.mark.parametrize(
    "line",
    [
        "torch==2.13.0+cpu \\",
        "torch @ https://example.org/torch.whl",
        "name @ file:///wheels/name.whl",
        "--index-url=somewhere",
        "--extra-index-url somewhere",
        "-f wheels",
        "-e .",
    ],
)
def test_the_pattern_catches_what_a_lock_must_not_hold(line):
    assert re.search(PLACES, line)


@pytest.mark.parametrize("name", ["run", "dev"])
def test_a_lock_holds_versions_and_hashes_and_names_no_place(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert re.findall(PLACES, text, re.MULTILINE) == []
    entries = re.split(r"\n(?! )", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(entries) > 60
    for entry in entries:
        first, *hashes = entry.replace(" \\\n", "\n").splitlines()
        assert re.fullmatch(r"[a-z0-9.-]+==[^\s;]+( ; .+)?", first), first
        assert hashes, first
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", one) for one in hashes), first


@pytest.mark.parametrize("name", ["run", "dev"])
def test_a_lock_holds_all_that_is_asked_for_but_torch(name):
    lock = read_lock(name)
    asked = [
        Requirement(one) for one in (*DIRECT["run"], *(DIRECT["dev"] if name == "dev" else ()))
    ]
    for requirement in asked:
        if requirement.name != "torch":
            assert requirement.specifier.contains(lock[requirement.name]), requirement
    assert [one for one in lock if one == "torch" or one.startswith(("nvidia-", "triton"))] == []


def test_what_both_locks_hold_is_the_same():
    run, dev = read_lock("run"), read_lock("dev")
    assert {name: dev.get(name, version) for name, version in run.items()} == run


def test_scripts_install_by_the_locks_and_name_no_place():
    script = (ROOT / "scripts" / "venv.sh").read_text(encoding="utf-8")
    installed = re.findall(r"pip_install (?!\()(.*)", script)
    assert installed == [
        '--require-hashes --only-binary :all: --no-deps -r "$lock"',
        "torch==2.13.0",
        "--no-deps --no-build-isolation -e .",
    ]
    for file in (*(ROOT / "scripts").glob("*"), *(ROOT / ".ci").glob("*")):
        if file.is_file() and file.suffix in ("", ".sh"):
            assert not re.search(r"-index|find-links|pypi", file.read_text(encoding="utf-8")), file


def test_nobody_is_told_to_install_a_name_that_no_index_has():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    code = [file for home in ("sdsearch", "eval") for file in (ROOT / home).rglob("*.py")]
    for file in (*pages, *code):
        told = re.findall(r"pip install[^\n`]*", file.read_text(encoding="utf-8"))
        assert [line for line in told if re.search(r"\bsdsearch\b", line)] == [], file


def test_every_direct_dependency_and_all_that_a_run_installs_have_a_licence_that_is_listed():
    wanted = find_wanted()
    direct = [Requirement(one).name for extra in DIRECT.values() for one in extra]
    assert {*map(canonicalize_name, direct), *map(canonicalize_name, read_lock("run"))} == {*wanted}
    assert [*read_page()] == [*wanted]
    said, page = (text.splitlines() for text in (list_licences(), PAGE.read_text("utf-8")))
    changed = {line for line in said if line not in page}
    assert {line for line in changed if not line.startswith("| torch |")} == set(), "run the script"
