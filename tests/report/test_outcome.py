from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import InputError
from sdsearch.labels.label import Failure
from sdsearch.report.outcome import notes, outcome_table, summarize_outcome, title, with_error
from sdsearch.stages.sample import sample_study
from sdsearch.study.folder import load_meter
from sdsearch.unet.backbone import SD14_INPAINT, TINY
from sdsearch.unet.cost import count_params
from tests.fakes import (
    full_geometry,
    make_design,
    make_label,
    make_study,
    measured,
    tiny_member,
    write_designs,
)

if TYPE_CHECKING:
    from sdsearch.report.outcome import Outcome, OutcomeRow
    from sdsearch.study.folder import StudyFolder

THREE = "[space]\nlabels = 3\n"


WORDS = Path(__file__).parents[2] / "assets" / "worlds" / "words-16"


def test_numbers_of_a_tiny_teacher_say_so_wherever_it_lies(tmp_path: Path) -> None:
    shipped = make_study(tmp_path / "shipped", THREE)
    assert title(shipped).startswith("tiny Stable Diffusion, ")
    toml = f'[teacher]\npipeline = "{WORDS}"\n[protocol]\ntask = "text-to-image"\n'
    assert title(make_study(tmp_path / "words", toml)).startswith("tiny model, text-to-image, ")
    full = full_geometry(tmp_path / "teacher", SD14_INPAINT)
    toml = f'[teacher]\npipeline = "{full}"\n'
    assert title(make_study(tmp_path / "full", toml)).startswith("inpainting, ")


def rows(result: Outcome) -> dict[str, OutcomeRow]:
    return {row.name: row for row in result.rows}


def sampled_study(folder: Path, toml: str = THREE) -> tuple[StudyFolder, list[str]]:
    """A study whose three sampled members measure 10, 20 and 30."""
    study = make_study(folder, toml)
    listing = sample_study(study)
    mine = listing.keys_from("sample")
    for key, fd in zip(mine, (10.0, 20.0, 30.0), strict=True):
        study.labels.write(measured(listing.architectures[key], fd, 0.5))
    return study, mine


def test_mean_best_and_errors_are_those_of_the_labels(tmp_path: Path) -> None:
    study, mine = sampled_study(tmp_path)
    row = rows(summarize_outcome(study))["evaluated uniform"]
    assert (row.n, row.mean, row.best, row.best_key) == (3, 20.0, 10.0, mine[0])
    assert row.mean_se == pytest.approx(10.0 / math.sqrt(3))
    assert row.best_se == 0.5


def test_a_single_architecture_has_the_error_of_its_measurement(tmp_path: Path) -> None:
    study, _ = sampled_study(tmp_path)
    study.labels.write(measured(tiny_member("teacher"), 5.0, 0.25))
    row = rows(summarize_outcome(study))["teacher"]
    assert (row.n, row.mean, row.mean_se, row.best_se, row.params_share) == (1, 5, 0.25, 0.25, 1.0)


def test_designs_are_grouped_by_method_and_failures_counted(tmp_path: Path) -> None:
    study, _ = sampled_study(tmp_path)
    small, tiny, base = (tiny_member(f"bk-{name}") for name in ("small", "tiny", "base"))
    designs = [make_design(small, "autobuild", 1), make_design(tiny, "autobuild", 2)]
    write_designs(study, [*designs, make_design(base, "random", 1)])
    study.labels.write(measured(small, 8.0, 1.0))
    study.labels.write(make_label(tiny, failure=Failure(kind="architecture", message="not finite")))
    table = rows(summarize_outcome(study))
    assert (table["autobuild"].n, table["autobuild"].failed, table["autobuild"].best) == (1, 1, 8.0)
    assert "random" not in table  # nothing of it is measured
    teacher = count_params(tiny_member(), TINY)
    assert table["autobuild"].params_share == count_params(small, TINY) / teacher


def test_the_budget_row_holds_only_what_loads_where_designs_have_to(tmp_path: Path) -> None:
    toml = f'{THREE}[build]\nloads_in = ["single-file"]\n'
    study, mine = sampled_study(tmp_path / "study", toml)
    labels = study.labels.read_series(study.series)
    meter = load_meter(study)
    loadable = [key for key in mine if not meter.why_not_loaded(labels[key].architecture)]
    result = summarize_outcome(study)
    assert loadable
    assert rows(result)["evaluated, within budget"].n == len(loadable)
    assert "all built designs load in: single-file" in "\n".join(notes(result))


def test_the_budget_row_holds_only_what_satisfies_it(tmp_path: Path) -> None:
    study, mine = sampled_study(tmp_path / "free")
    labels = study.labels.read_series(study.series)
    params = sorted(labels[key].scalar("params") for key in mine)
    limit = (params[1] + params[2]) / 2
    toml = f"{THREE}[build]\nbudget = {{ params = {limit} }}\n"
    study, _ = sampled_study(tmp_path / "limited", toml)
    result = summarize_outcome(study)
    assert rows(result)["evaluated, within budget"].n == 2
    assert result.limits == {"params": limit}
    share = make_study(tmp_path / "share", f"{THREE}[build]\nbudget = {{ macs = {{ share = 1 }} }}")
    sample_study(share)
    assert summarize_outcome(share).limits["macs"] > 0


def test_labels_of_other_protocols_and_seeds_do_not_enter_the_rows(tmp_path: Path) -> None:
    study, _ = sampled_study(tmp_path)
    study.labels.write(measured(tiny_member(), 5.0))
    study.labels.write(measured(tiny_member(), 7.0, seed=1))
    other = measured(tiny_member("bk-tiny"), 1.0).model_copy(update={"protocol_key": "0" * 12})
    study.labels.write(other)
    table = rows(summarize_outcome(study))
    assert table["teacher"].mean == 5.0
    assert "bk-tiny" not in table


def test_the_printed_table_says_tiny_and_states_the_noise(tmp_path: Path) -> None:
    from rich.console import Console

    study, _ = sampled_study(tmp_path)
    for seed, fd in enumerate((5.0, 7.0)):
        study.labels.write(measured(tiny_member(), fd, seed=seed))
    console = Console(width=200, file=io.StringIO())
    console.print(outcome_table(summarize_outcome(study)))
    text = console.file.getvalue()
    assert "tiny" in text
    assert "lower is better" in text
    assert "20.00 ± 5.77" in text
    # Sums of squares 2 of the teacher's two seeds, over one degree of freedom
    assert "noise of fd_efflite0: 1.41 at every value, pooled" in text
    assert "over label seeds, by 1 architecture)" in text


def test_without_a_second_seed_the_errors_of_labels_are_the_noise(tmp_path: Path) -> None:
    study, _ = sampled_study(tmp_path)
    said = str(summarize_outcome(study))
    assert "noise of fd_efflite0: 0.50 at every value" in said
    assert "none is labelled under several seeds" in " ".join(said.split())


def test_claims_stand_below_the_table_with_what_they_mean(tmp_path: Path) -> None:
    study, _ = sampled_study(tmp_path)
    write_designs(study, [make_design(tiny_member("bk-small"), "autobuild", 1)])
    study.labels.write(measured(tiny_member(), 80.0, 0.5))
    study.labels.write(measured(tiny_member("bk-small"), 70.0, 0.5))
    result = summarize_outcome(study)
    for said in (str(result), result._repr_html_()):
        words = " ".join(said.split())
        assert "what the differences bear" in words
        assert "autobuild-1 against the teacher" in words
        assert "a loss of 0.8 or more is ruled out at 2.5 %" in words
        assert "labels have no blocks" in words


def test_an_outcome_needs_the_sampled_architectures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sdsearch sample"):
        summarize_outcome(make_study(tmp_path))


def test_a_value_without_error_is_shown_alone() -> None:
    assert with_error(3.14159, None) == "3.14"
    assert with_error(3.14159, 0.5) == "3.14 ± 0.50"


PRESET = """\
about = "scenes"
target = "-log(fd_efflite0)"
[protocol]
steps = 8
[bring]
[published]
source = "Somebody (2024)"
caveat = "other scenes"
[[published.rows]]
name = "their <model>"
values = { fd_efflite0 = 12.5 }
"""


def published_study(folder: Path, steps: int) -> Outcome:
    """A study of a preset whose teacher and one design are measured, and a random one failed."""
    (folder / "mine.toml").write_text(PRESET)
    toml = f'{THREE}[protocol]\nsteps = {steps}\n[report]\npreset = "{folder / "mine.toml"}"\n'
    study = make_study(folder / "study", toml)
    sample_study(study)
    small, tiny = tiny_member("bk-small"), tiny_member("bk-tiny")
    write_designs(study, [make_design(small, "autobuild", 1), make_design(tiny, "random", 1)])
    key = study.protocol_key
    failed = make_label(tiny, failure=Failure(kind="architecture", message="not finite"))
    for label in (measured(tiny_member(), 5.0, 0.25), measured(small, 8.0), failed):
        study.labels.write(label.model_copy(update={"protocol_key": key}))
    return summarize_outcome(study)


def test_published_values_stand_beside_measured_ones_with_their_source(tmp_path: Path) -> None:
    result = published_study(tmp_path, 8)
    assert result.beside is not None
    assert result.beside.rows == (
        ("teacher", "measured", "5 ± 0.25"),
        ("bk-small", "measured", "8"),
        ("autobuild-1", "measured", "8"),
        ("their <model>", "published", "12.5"),
    )
    for said in (str(result), result._repr_html_()):
        assert "Somebody (2024)" in said
        assert "12.5" in said
    assert "their &lt;model&gt;" in result._repr_html_()


def test_published_values_of_another_protocol_are_not_shown(tmp_path: Path) -> None:
    said = str(published_study(tmp_path, 4))
    assert "steps is 4 and not 8" in said
    assert "12.5" not in said
