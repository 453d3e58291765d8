"""Files of records that are filled in any order by many processes, each record with its own seal.

All records are of one size and end in their seal. After them comes a byte for each block of
`RECORDS_AT_ONCE`, which says whether it was filled, and the size of a record: a file can be checked
by whoever does not know what it holds.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sdsearch.files.sealed import DamagedFileError, open_sealed

if TYPE_CHECKING:
    from pathlib import Path

SEAL_BYTES = 16
RECORDS_AT_ONCE = 8
"""Records that are filled together."""
RECORDS_DONE = 0xFF
"""The byte of a block that was filled, which one flipped bit neither sets nor clears."""
_SIZE_BYTES = 8


def seal_of_record(record: bytes) -> bytes:
    """The hash of a record, without the seal at its end."""
    return hashlib.sha256(record[:-SEAL_BYTES]).digest()[:SEAL_BYTES]


def is_sealed_record(record: bytes) -> bool:
    """Whether a record is as it was written."""
    return seal_of_record(record) == record[-SEAL_BYTES:]


def describe_records(size: int) -> bytes:
    """What stands at the end of a file of records of so many bytes each."""
    return size.to_bytes(_SIZE_BYTES, "little")


def check_records(path: Path) -> None:
    """Read all records of the blocks that were filled.

    Raises:
        OSError: the file cannot be read.
        DamagedFileError: it does not hold what was written.
    """
    with open_sealed(path) as file:
        total = path.stat().st_size - _SIZE_BYTES
        file.seek(max(total, 0))
        size = int.from_bytes(file.read(), "little")
        count = 8 * total // (8 * size + 1)  # a byte for each 8 records
        blocks = -(-count // RECORDS_AT_ONCE)
        if size <= SEAL_BYTES or count < 1 or count * size + blocks != total:
            raise DamagedFileError(f"{path} is damaged: its size is not that of its records")
        file.seek(count * size)
        done = file.read(blocks)
        file.seek(0)
        for number in range(count):
            record, state = file.read(size), done[number // RECORDS_AT_ONCE]
            is_whole = state == 0 or (state == RECORDS_DONE and is_sealed_record(record))
            if not is_whole:
                raise DamagedFileError(f"{path} is damaged in record {number}")
