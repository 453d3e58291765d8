from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sdsearch.errors import InputError
from sdsearch.labels.costs import PictureCost, PipelineCost, describe_costs, read_costs

if TYPE_CHECKING:
    from pathlib import Path

CALL = {"median": 12.345, "iqr": 0.5, "device": "a CPU"}
PICTURE: dict[str, Any] = {
    "seconds": 0.4567,
    "iqr": 0.012,
    "n": 9,
    "peak_bytes": 61_400_000,
    "device": "a CPU",
    "dtype": "float32",
    "threads": 2,
    "resolution": 64,
    "scheduler": "ddim",
    "steps": 8,
    "guidance": 1.0,
}


def write(path: Path, *columns: object) -> Path:
    path.write_text(json.dumps({"schema": 1, "columns": columns}))
    return path


def test_a_call_and_a_whole_picture_are_said_in_their_units() -> None:
    cost = PipelineCost.model_validate({"name": "a", "latency_ms": CALL, "picture": PICTURE})
    assert cost.call_said == "12.3 ms (IQR 0.5)"
    assert cost.seconds_said == "0.457 s (IQR 0.012)"
    assert cost.memory_said == "61 MB"


def test_a_picture_that_was_painted_once_has_no_spread_and_gigabytes_are_called_so() -> None:
    once = PictureCost.model_validate({**PICTURE, "n": 1, "iqr": 0.0, "peak_bytes": 3_412_000_000})
    cost = PipelineCost(name="a", picture=once)
    assert (cost.call_said, cost.seconds_said, cost.memory_said) == ("-", "0.457 s", "3.41 GB")


def test_what_was_not_measured_is_a_dash() -> None:
    unseen = PipelineCost(name="a")
    assert (unseen.call_said, unseen.seconds_said, unseen.memory_said) == ("-", "-", "-")
    blind = PictureCost.model_validate({**PICTURE, "peak_bytes": None})
    assert PipelineCost(name="a", picture=blind).memory_said == "-"


def test_costs_are_read_beside_what_else_a_column_says(tmp_path: Path) -> None:
    whole = {"name": "b", "arch_key": "0" * 12, "latency_ms": CALL, "picture": PICTURE}
    old, new = read_costs(write(tmp_path / "new.json", {"name": "a", "psnr_hole": [1.0]}, whole))
    assert old == PipelineCost(name="a")
    assert new.picture == PictureCost.model_validate(PICTURE)
    assert read_costs(tmp_path / "nowhere.json") == ()


def test_every_pipeline_is_described_and_how_it_was_measured_is_said_once(tmp_path: Path) -> None:
    columns = [{"name": name, "latency_ms": CALL, "picture": PICTURE} for name in ("a", "b")]
    lines = describe_costs(read_costs(write(tmp_path / "new.json", *columns)))
    assert lines == [
        "a: 12.3 ms (IQR 0.5) a UNet call, 0.457 s (IQR 0.012) and 61 MB a whole picture",
        "b: 12.3 ms (IQR 0.5) a UNet call, 0.457 s (IQR 0.012) and 61 MB a whole picture",
        "measured with one picture of 64 px, ddim, 8 steps, guidance 1, UNet in float32, a CPU, 2 "
        "threads",
    ]
    assert describe_costs((PipelineCost(name="a"),)) == []


@pytest.mark.parametrize("text", ["", "[]", '{"columns": [{}]}', '{"columns": [{"name": 1}]}'])
def test_a_file_of_something_else_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "costs.json").write_text(text)
    with pytest.raises(InputError, match=r"costs\.json must be JSON whose columns"):
        read_costs(tmp_path / "costs.json")
