"""Reading a JSON file of a pipeline: an object, or an error that names the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: the file is missing, no JSON, nested too deeply, or holds no object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} must be readable JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{file} must hold a JSON object, as save_pretrained writes it")
    return found
