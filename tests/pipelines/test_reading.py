"""A JSON file of a pipeline is read whole, or refused before it costs anything."""

from __future__ import annotations

import pytest

from sdsearch.errors import InputError
from sdsearch.pipelines.reading import read_json


@pytest.mark.parametrize(
    "text", ["", "[1]", "1", "{", '{"a": ' + "[" * 5000, '{"a": ' + "9" * 5000 + "}", "\ud800"]
)
def test_what_is_no_json_object_is_bad_input(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match=r"config\.json.* (must|mend)"):
        read_json(file)


def test_a_file_of_many_bytes_is_refused_unread(tmp_path):
    file = tmp_path / "config.json"
    with file.open("wb") as stream:
        stream.truncate(200_000_000_000)  # without room for them: reading would need memory
    with pytest.raises(InputError, match="at most 8,000,000 bytes"):
        read_json(file)
