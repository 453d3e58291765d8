"""Write the reference of study.toml and of the command line, docs/reference/.

Run `python scripts/make_reference.py` whenever a key or a help text changes; a test asks for it.
The reference of Python names is made with the site: `help(sdsearch)` reads the same docstrings.
"""

from __future__ import annotations

from pathlib import Path

from scripts.pages.commands import describe_commands
from scripts.pages.keys import describe_keys
from sdsearch.files import write_atomic

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def draw_reference() -> dict[str, str]:
    """File name -> its text."""
    return {"study-toml.md": describe_keys(), "commands.md": describe_commands()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in draw_reference().items():
        write_atomic(FOLDER / name, text)
        print(FOLDER / name)
