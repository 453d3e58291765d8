"""The worlds: their tables, draws and costs, and what `sdsearch bench` makes of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sdsearch
from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.labels.target import Target
from sdsearch.replay.pool import read_pool
from sdsearch.replay.world import WORLDS, draw_of_members, read_world
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.cost import count_macs, count_params

TOKENS = 32
"""Of the texts of every world."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", WORLDS)
def test_a_worlds_labels_are_of_its_own_space_and_cost_what_is_counted(name: str) -> None:
    world = read_world(name)
    assert {one.arch_key for one in world.labels} >= {UNPRUNED.key}
    for label in world.labels:
        assert world.space.why_not(label.architecture) is None
        assert label.values["params"] == count_params(label.architecture, world.space.backbone)
        counted = count_macs(label.architecture, world.space.backbone, tokens=TOKENS).total
        assert label.values["macs"] == counted
    keys = [(one.arch_key, one.protocol_key, one.seed) for one in world.labels]
    assert max(Counter(keys).values()) == 1
    assert world.probe is not None
    world.probe.option_errors(world.space)  # says why where it is of another space


@pytest.mark.parametrize("name", ["fill-16", "words-16"])
def test_a_world_has_eight_disjoint_draws_of_32_measured_members(name: str) -> None:
    world = read_world(name)
    draws = draw_of_members(world.space)
    assert Counter(draws.values()) == dict.fromkeys(range(8), 32)
    assert draws.keys() <= {one.arch_key for one in world.labels if one.seed == 0}
    pool = read_pool(world.labels, world.space, Target("-log(fd_efflite0)"), world.column)
    drawn = {pool.architectures[at].key for at in pool.drawn.nonzero()[0]}
    assert drawn == draws.keys() - {UNPRUNED.key}


def test_an_unknown_world_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"fill-16, words-16.*did you mean 'words-16'"):
        read_world("word-16")


def test_the_benchmark_is_a_frame_whose_columns_the_page_explains() -> None:
    page = (ROOT / "docs/benchmark.md").read_text(encoding="utf-8")
    for name in WORLDS:
        table = sdsearch.load_benchmark(name)
        world = read_world(name)
        assert len(table) == len(world.labels)
        label = world.labels[0]
        row = table.loc[[label.arch_key]].iloc[0]
        assert row["fd_efflite0"] == label.scalar("fd_efflite0")
        units = row[[unit.name for unit in world.space.units]]
        assert tuple(units) == world.space.option_indices(label.architecture)
        bare = {column.removesuffix("_se").removesuffix("_iqr") for column in table.columns}
        assert [column for column in sorted(bare) if f"`{column}`" not in page] == []


def test_a_replay_is_of_a_world_or_of_a_table_but_not_of_both(tmp_path: Path) -> None:
    line = ["bench", "--world", "words-16", "--table", str(tmp_path / "t.jsonl")]
    result = CliRunner().invoke(app, line)
    assert isinstance(result.exception, InputError)
    assert "--table must be said of a table of your own" in str(result.exception)
    for option in ("--probe", "--teacher", "--space"):
        refused = CliRunner().invoke(app, ["bench", "--world", "words-16", option, "x"])
        assert f"{option} must be said of a table of your own" in str(refused.exception)


def test_a_column_of_small_values_is_told_with_its_digits() -> None:
    line = ["bench", "--world", "fill-16", "--method", "one-shot", "--resamplings", "1"]
    found = CliRunner().invoke(app, [*line, "--macs-share", "0.6"])
    assert re.search(r"\| one-shot \|.*\| 0\.3\d\d\d \[", found.output)


def test_a_world_is_replayed_in_its_own_column() -> None:
    line = ["bench", "--world", "fill-16", "--method", "one-shot", "--method", "most-macs"]
    found = CliRunner().invoke(app, [*line, "--resamplings", "1", "--macs-share", "0.6", "--json"])
    assert found.exit_code == 0, found.output
    assert '"column": "lpips_like_efflite0"' in found.output
    assert '"drawn": 256' in found.output
