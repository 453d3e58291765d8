"""Files: written whole or not at all, sealed by their content, and read through one door.

It imports errors alone. Start at `write_atomic`, and at `reading` for what others wrote.
"""

from sdsearch.files.markdown import as_text, markdown_templates
from sdsearch.files.places import check_no_folder, check_output
from sdsearch.files.reading import (
    LARGEST_JSON,
    LARGEST_TEXT,
    check_file,
    parse_json,
    read_bytes,
    read_json,
    read_json_bytes,
    read_json_lines,
    read_text,
    read_toml,
)
from sdsearch.files.records import (
    RECORDS_AT_ONCE,
    RECORDS_DONE,
    SEAL_BYTES,
    check_records,
    describe_records,
    is_sealed_record,
    seal_of_record,
)
from sdsearch.files.sealed import (
    UNSEALED,
    DamagedFileError,
    check_sealed,
    read_sealed,
    write_sealed,
    writing_sealed,
)
from sdsearch.files.tensor_header import DTYPE_BYTES, TensorEntry, read_tensor_header
from sdsearch.files.writing import (
    FolderGoneError,
    has_hard_links,
    make_folder,
    noticing_moves,
    share_file,
    write_atomic,
    write_once,
)

__all__ = [
    "DTYPE_BYTES",
    "LARGEST_JSON",
    "LARGEST_TEXT",
    "RECORDS_AT_ONCE",
    "RECORDS_DONE",
    "SEAL_BYTES",
    "UNSEALED",
    "DamagedFileError",
    "FolderGoneError",
    "TensorEntry",
    "as_text",
    "check_file",
    "check_no_folder",
    "check_output",
    "check_records",
    "check_sealed",
    "describe_records",
    "has_hard_links",
    "is_sealed_record",
    "make_folder",
    "markdown_templates",
    "noticing_moves",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_json_bytes",
    "read_json_lines",
    "read_sealed",
    "read_tensor_header",
    "read_text",
    "read_toml",
    "seal_of_record",
    "share_file",
    "write_atomic",
    "write_once",
    "write_sealed",
    "writing_sealed",
]
