"""Files: written whole or not at all, sealed by their content, and read as editors leave them.

It imports errors alone. Start at `write_atomic`.
"""

from sdsearch.files.markdown import as_text, markdown_templates
from sdsearch.files.places import check_no_folder, check_output
from sdsearch.files.reading import read_lines, read_text
from sdsearch.files.sealed import UNSEALED, DamagedFileError, read_sealed, write_sealed
from sdsearch.files.writing import share_file, write_atomic, write_once

__all__ = [
    "UNSEALED",
    "DamagedFileError",
    "as_text",
    "check_no_folder",
    "check_output",
    "markdown_templates",
    "read_lines",
    "read_sealed",
    "read_text",
    "share_file",
    "write_atomic",
    "write_once",
    "write_sealed",
]
