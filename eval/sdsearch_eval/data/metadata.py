"""Metadata and text files: rows of photo name and caption, and prompts, whatever wrote them.

A value that is not there is told from one that is, and what is no text is refused with its line.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import parse_json, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

NAME_COLUMNS = ("file_name", "image_file_name", "filename", "file", "image", "image_path", "path")
CAPTION_COLUMNS = ("text", "caption", "captions", "prompt", "prompts", "description")
NOTHING = frozenset({"", "none", "null", "nan", "na", "n/a", "<na>", "#n/a"})
"""What programs write where there is no caption, in lower case; pandas reads these as missing."""
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LINE_END = re.compile(r"\r\n|\n|\r")  # `splitlines` also cuts at U+2028, which JSON text may hold
MANY_BRACKETS = 100
NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
PRINTED_LIST = re.compile(r"\[\s*(['\"]).*\1\s*\]")


@dataclass(frozen=True, slots=True)
class Row:
    """What one line says: the photo's name as written, and its captions, without empty ones."""

    line: int
    name: str
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Metadata:
    """The rows of a metadata file, and the column that holds its captions."""

    rows: tuple[Row, ...]
    column: str


def read_metadata(path: Path) -> Metadata:
    """Read a `.jsonl` file of objects or a `.csv` file with a header (commas, semicolons or tabs).

    Photos are named by the column `file_name`, captions by `text`; where there is no such column,
    by the only other one of `NAME_COLUMNS` or `CAPTION_COLUMNS`. Case does not matter.

    Raises:
        InputError: the file cannot be read or understood; the line is named.
    """
    text = read_text(path)
    read = _jsonl_rows if path.suffix.lower() == ".jsonl" else _csv_rows
    found = [(line, _fold_columns(path, line, row)) for line, row in read(path, text)]
    if not found:
        return Metadata((), "")
    columns = {column for _, row in found for column in row}
    name = _choose_column(path, columns, NAME_COLUMNS, "the photos' names")
    caption = _choose_column(path, columns, CAPTION_COLUMNS, "the captions")
    return Metadata(tuple(_row(path, line, row, name, caption) for line, row in found), caption)


def read_prompts(file: Path) -> tuple[str, ...]:
    """The prompts of a text file, one a line, or of a `.jsonl` file of objects, in order.

    Empty lines are left out. Objects hold their prompt as `prompt`, or by another name of captions
    in metadata files; those with several give the first.

    Raises:
        InputError: the file cannot be read, or a line holds no prompt; the line is named.
    """
    if not file.is_file():
        raise InputError(
            f"protocol.prompts must be 'captions' or a file of prompts, but {str(file)!r} is no "
            "file here; write one prompt a line"
        )
    if file.suffix.lower() == ".jsonl":
        texts = list(_read_objects(file))
    else:
        lines = enumerate(LINE_END.split(read_text(file)), 1)
        texts = [text for line, said in lines for text in clean_captions(file, line, [said])]
    if not texts:
        raise InputError(f"{file} must hold prompts, but has no line with one; write one a line")
    return tuple(texts)


def _read_objects(path: Path) -> Iterator[str]:
    """The first prompt of every object of a `.jsonl` file."""
    rows = _jsonl_rows(path, read_text(path))
    found = [(line, _fold_columns(path, line, row)) for line, row in rows]
    columns = {column for _, row in found for column in row}
    names = ("prompt", *CAPTION_COLUMNS)
    column = _choose_column(path, columns, names, "the prompts") if found else ""
    for line, row in found:
        texts = _texts(path, line, row.get(column), column)
        if not texts:
            raise _refusal(path, line, f"must have a prompt in {column!r}, but has none")
        yield texts[0]


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in the encoding that its byte order mark says.

    Raises:
        InputError: the file cannot be read, or is in another encoding.
    """
    data = read_bytes(path)
    encoding = next((name for mark, name in BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(path, line, f"is not {encoding} text; save the file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        wanted = "it is binary, or UTF-16 without a byte order mark; save the file as UTF-8"
        raise _refusal(path, line, f"holds NUL characters: {wanted}")
    return text


def clean_captions(path: Path, line: int, texts: Iterable[str]) -> tuple[str, ...]:
    """Captions with single spaces as white space, as CLIP reads them, without empty ones.

    Raises:
        InputError: one holds control characters or half a surrogate pair, or is a printed list.
    """
    captions = tuple(" ".join(text.split()) for text in texts)
    for caption in captions:
        if NO_TEXT.search(caption):
            raise _refusal(path, line, f"must hold plain text, but holds {caption[:80]!r}")
        if PRINTED_LIST.fullmatch(caption):
            raise _refusal(
                path,
                line,
                f"must hold one caption, but holds a printed list, {caption[:80]!r}; write lists "
                "to metadata.jsonl",
            )
    return tuple(caption for caption in captions if caption.casefold() not in NOTHING)


def _jsonl_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys)
    for line, content in enumerate(LINE_END.split(text), 1):
        if not content.strip():
            continue
        try:
            if content.count("[") + content.count("{") > MANY_BRACKETS:
                parse_json(content, "it")  # refuses what is nested without end
            row = decoder.decode(content)
        except ValueError as error:
            raise _refusal(path, line, f"must be one JSON object: {error}") from None
        if not isinstance(row, dict):
            raise _refusal(path, line, f"must be one JSON object, but is {content[:80]!r}")
        yield line, row


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"a key stands twice in {[key for key, _ in pairs]}")
    return row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    first = LINE_END.split(text.lstrip(), 1)[0]
    delimiter = max(",;\t", key=first.count)
    # Strict: a quote that is never closed would take all that follows for one caption.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    end = 0
    try:
        for fields in reader:
            line, end = end + 1, reader.line_num
            if not any(field.strip() for field in fields):
                continue
            if not header:
                header = fields
                _check_header(path, line, header)
                continue
            if any(fields[len(header) :]):
                raise _refusal(
                    path,
                    line,
                    f"has {len(fields)} fields for {len(header)} columns; put captions with "
                    f"{delimiter!r} in double quotes",
                )
            yield line, dict(zip(header, fields, strict=False))
    except csv.Error as error:
        raise _refusal(path, end + 1, f"is not CSV: {error}") from None


def _check_header(path: Path, line: int, header: list[str]) -> None:
    """Refuse two columns of one name, of which a row could keep one only; "" names none."""
    named = [name for name in (field.strip().casefold() for field in header) if name]
    counts = Counter(named)
    if twice := next((name for name in named if counts[name] > 1), None):
        raise _refusal(
            path,
            line,
            f"must name each column once, but names {twice!r} {counts[twice]} times; rename or "
            "remove all but one",
        )


def _fold_columns(path: Path, line: int, row: dict[str, object]) -> dict[str, object]:
    """A row by the lower-case names of its columns."""
    folded = {column.strip().casefold(): value for column, value in row.items()}
    if len(folded) < len(row):
        raise _refusal(path, line, f"must name each column once, but has {list(row)}")
    return folded


def _choose_column(path: Path, columns: set[str], known: Sequence[str], what: str) -> str:
    fitting = [column for column in known if column in columns]
    if not fitting:
        raise InputError(
            f"{path} must have a column {known[0]!r} with {what}, but has "
            f"{', '.join(sorted(columns))[:200]!r}; rename it, or move the file elsewhere if it is "
            "no list of captions"
        )
    if len(fitting) > 1 and fitting[0] != known[0]:
        raise InputError(
            f"{path} must say which column holds {what}, but has {' and '.join(fitting)}; call "
            f"the right one {known[0]!r}"
        )
    return fitting[0]


def _row(path: Path, line: int, row: dict[str, object], name: str, caption: str) -> Row:
    photo = row.get(name)
    if not isinstance(photo, str) or not photo.strip():
        raise _refusal(path, line, f"must name a photo in {name!r}, but has {str(photo)[:80]!r}")
    return Row(line, photo, _texts(path, line, row.get(caption), caption))


def _texts(path: Path, line: int, value: object, caption: str) -> tuple[str, ...]:
    """The captions of a value: words, or a list of them, with nothing where there is none."""
    texts = []
    for option in value if isinstance(value, list) else [value]:
        if option is None or option != option:  # null, or the NaN of Python's JSON
            continue
        if not isinstance(option, str):
            raise _refusal(
                path, line, f"must have words in {caption!r}, but has {str(option)[:80]!r}"
            )
        texts.append(option)
    return clean_captions(path, line, texts)


def _refusal(path: Path, line: int, what: str) -> InputError:
    return InputError(f"{path} line {line} {what}")
