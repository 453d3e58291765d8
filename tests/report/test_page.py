from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from typing import TYPE_CHECKING, get_args

import pytest

from sdsearch.design.designs import Method
from sdsearch.design.scores import BlockScore, OptionScore, Scores, UnitScores
from sdsearch.labels.label import Failure, Latency
from sdsearch.report.findings import read_evidence
from sdsearch.report.outcome import summarize_outcome
from sdsearch.report.page import render, write_report
from sdsearch.stages.sample import sample_study
from sdsearch.study.preset import Beside
from tests.fakes import (
    label_by_params,
    make_design,
    make_label,
    make_study,
    measured,
    tiny_member,
    write_designs,
)
from tests.labels.test_costs import PICTURE
from tests.labels.test_runtimes import runtime, table

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

EVIL = "<script>alert(1)</script>\"'&"
BUDGET = "[space]\nlabels = 5\n[build]\nbudget = { params = { share = 0.6 } }\n"


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    made = make_study(tmp_path / "study", BUDGET)
    sample_study(made)
    label_by_params(made)
    write_designs(made, [make_design(tiny_member("bk-tiny"), "autobuild", 1, EVIL)])
    return made


class Outline(HTMLParser):
    """Collects what the tests ask about: tags, sources and headings."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    return parser


def test_the_outcome_table_comes_first_and_the_file_needs_no_network(study: StudyFolder) -> None:
    html = render(read_evidence(study), summarize_outcome(study))
    found = outline(html)
    assert html.index("<table>") < html.index("<svg")
    assert found.tags.count("script") == 1, "its own, at the end"
    assert found.links
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert "http:" not in html.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "https:" not in html
    assert html.index("evaluated uniform") < html.index("bk-small")


def test_the_scatter_has_every_measured_architecture_and_the_budget(study: StudyFolder) -> None:
    html = render(read_evidence(study), summarize_outcome(study))
    # Five sampled ones, three members and one design, which was a member.
    assert html.count("<circle") == 9
    assert html.count('<circle class="autobuild"') == 1
    assert ">budget</text>" in html


def test_the_scatter_is_against_what_the_budget_limits(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", BUDGET.replace("params", "macs"))
    sample_study(study)
    label_by_params(study)
    write_designs(study, [make_design(tiny_member("bk-small"), "one-shot", 1)])
    html = render(read_evidence(study), summarize_outcome(study))
    assert ">multiply-accumulates of a UNet call, billions</text>" in html
    assert "parameters, millions" not in html
    assert html.count('<circle class="one-shot"') == 1
    assert ">budget</text>" in html


def test_every_method_has_a_colour_on_light_and_dark_pages() -> None:
    css = (files("sdsearch.report") / "templates" / "report.css").read_text(encoding="utf-8")
    for method in get_args(Method):
        assert css.count(f"--{method}: #") == 2, method
        assert f".{method} {{ fill: var(--{method}); }}" in css


def test_text_from_files_is_escaped_everywhere(study: StudyFolder) -> None:
    failure = Failure(kind="architecture", message=EVIL)
    study.labels.write(make_label(failure=failure, provenance={"versions": {EVIL: EVIL}}))
    html = render(read_evidence(study), summarize_outcome(study))
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;") >= 3  # the reason, the failure, the versions


def test_a_failed_label_is_shown_with_its_reason(study: StudyFolder) -> None:
    study.labels.write(
        make_label(failure=Failure(kind="architecture", message="loss is not finite"))
    )
    html = render(read_evidence(study), summarize_outcome(study))
    assert "failed:</b> loss is not finite" in html


def test_the_picture_is_embedded_with_the_names_of_its_columns(study: StudyFolder) -> None:
    study.compare_dir.mkdir()
    (study.compare_dir / "grid.png").write_bytes(b"\x89PNG")
    columns = [{"name": name} for name in ("tiny teacher", "tiny autobuild-1")]
    (study.compare_dir / "comparison.json").write_text(json.dumps({"columns": columns}))
    html = render(read_evidence(study), summarize_outcome(study))
    assert "data:image/png;base64,iVBORw==" in html
    assert "original | masked | tiny teacher | tiny autobuild-1" in html


def test_what_a_picture_costs_is_a_table_and_a_dash_where_it_was_not_measured(
    study: StudyFolder,
) -> None:
    assert "What a picture costs" not in render(read_evidence(study), summarize_outcome(study))
    study.compare_dir.mkdir()
    columns = [
        {"name": EVIL, "latency_ms": {"median": 12.0, "iqr": 0.5, "device": "a CPU"}},
        {"name": "tiny autobuild-1"},
    ]
    (study.compare_dir / "comparison.json").write_text(json.dumps({"columns": columns}))
    html = render(read_evidence(study), summarize_outcome(study))
    table = html[html.index("What a picture costs") : html.index("All labels")]
    assert "<script>" not in table
    assert "<td>12 ms (IQR 0.5)</td><td>-</td><td>-</td>" in table
    assert "<td>-</td><td>-</td><td>-</td>" in table
    assert "Not measured yet" in table
    columns[1]["picture"] = PICTURE
    (study.compare_dir / "comparison.json").write_text(json.dumps({"columns": columns}))
    html = render(read_evidence(study), summarize_outcome(study))
    assert "<td>-</td><td>0.457 s (IQR 0.012)</td><td>61 MB</td>" in html
    assert "Measured with one picture of 64 px, ddim, 8 steps" in html


def test_the_page_says_that_effects_of_a_single_model_have_no_spread(study: StudyFolder) -> None:
    option = OptionScore(option=0, words="d1", score=0.5, effect=0.5, spread=0.0)
    lost = BlockScore(name="down.0.res.1", unit="level0", effect=-0.4, spread=0, together_with=())
    scores = Scores(
        space="tiny",
        kind="forest",
        rule="partial-dependence",
        mean=0.0,
        blocks=(lost,),
        units=(UnitScores(unit="level0", stability=1.0, options=(option,)),),
    )
    study.scores_file.write_text(scores.model_dump_json())
    html = render(read_evidence(study), summarize_outcome(study))
    assert "changes the target by -0.400<" in html
    assert "<td>+0.500</td><td></td>" in html
    assert "the predictor in use does not have" in html


def test_block_scores_are_drawn_in_the_shape_of_the_net(study: StudyFolder) -> None:
    block = {"unit": "level0", "spread": 0.01, "together_with": ()}
    option = OptionScore(option=0, words="d1 & few", score=0.5, effect=0.5, spread=0.1)
    scores = Scores(
        space="tiny",
        kind="gnn",
        rule="partial-dependence",
        mean=0.0,
        blocks=(
            BlockScore(name="down.0.res.1", effect=-0.4, **block),
            BlockScore(name="up.3.attn.1", effect=0.1, **block),
            BlockScore(name="mid.attn.0", effect=0.015, **block),
        ),
        units=(UnitScores(unit="level0", stability=1.0, options=(option,)),),
    )
    study.scores_file.write_text(scores.model_dump_json())
    html = render(read_evidence(study), summarize_outcome(study))
    assert html.count('class="sds-slot') == 46
    assert html.count('tabindex="0" role="img"') == 46
    assert "down.0.res.1: kept" in html
    assert "removing it changes the target by -0.400 ± 0.010" in html
    assert "removing it changes the target by +0.100" in html
    assert "removing it changes the target by +0.015 ± 0.010, which cannot be told" in html
    assert (
        "less than 2 standard deviations over fits to different labels. They are mid.attn.0."
        in html
    )
    assert html.count('class="sds-strip"') == 1 + 1, "of the block and of the legend"
    assert "<td>+0.500</td><td>0.100</td>" in html
    assert "never removed" in html
    assert "d1 &amp; few" in html


def test_writing_again_replaces_the_file_and_leaves_nothing_else(study: StudyFolder) -> None:
    before = {path.name for path in study.root.iterdir()}
    path = write_report(study, summarize_outcome(study))
    study.labels.write(measured(tiny_member("bk-tiny"), 123.456))
    assert write_report(study, summarize_outcome(study)) == path
    assert "123.46" in path.read_text()
    assert {path.name for path in study.root.iterdir()} == before | {"report.html"}


def test_numbers_of_the_tiny_model_are_called_tiny(study: StudyFolder) -> None:
    html = render(read_evidence(study), summarize_outcome(study))
    assert "tiny model</span>" in html
    assert "of the tiny model, lower is better" in html


def test_the_answer_is_the_best_measured_design_beside_the_teacher(study: StudyFolder) -> None:
    teacher = measured(tiny_member("teacher"), 80.0, 2.0)
    best = measured(tiny_member("bk-tiny"), 84.5, 1.5)
    speed = {"device": "a CPU", "threads": 2, "iqr": 1.0}
    for label, ms in ((teacher, 40.0), (best, 20.0)):
        values = {**label.values, "latency_ms": Latency(median=ms, **speed)}
        study.labels.write(label.model_copy(update={"values": values}))
    html = render(read_evidence(study), summarize_outcome(study))
    answer = html[html.index('<div class="answer">') : html.index("Who found the better")]
    assert "autobuild-1</a></b>: fd_efflite0 84.5 ± 1.5, the teacher 80 ± 2" in answer
    assert "46.0 % of its parameters" in answer
    assert (
        "20.0 (IQR 1.0) ms a UNet call, the teacher 40.0 (IQR 1.0) ms (a CPU, 2 threads)" in answer
    )


def test_the_answer_and_a_table_of_claims_say_what_the_difference_bears(study: StudyFolder) -> None:
    study.labels.write(measured(tiny_member("teacher"), 80.0, 0.1))
    study.labels.write(measured(tiny_member("bk-tiny"), 84.5, 0.1))
    html = render(read_evidence(study), summarize_outcome(study))
    answer = html[html.index('<div class="answer">') : html.index("Who found the better")]
    assert "Against the teacher: worse (+4.50 [" in answer
    assert "t test, unpaired errors, 1 label seed; one claim" in answer
    table = html[html.index("Which differences are real?") : html.index("Quality against size")]
    assert "<td>autobuild-1 against the teacher</td>" in table
    assert "labels have no blocks" in table


def test_latencies_of_different_machines_are_not_set_side_by_side(study: StudyFolder) -> None:
    for name, device in (("teacher", "a GPU"), ("bk-tiny", "a CPU")):
        label = measured(tiny_member(name), 80.0, 2.0)
        latency = Latency(median=5.0, iqr=1.0, device=device)
        values = {**label.values, "latency_ms": latency}
        study.labels.write(label.model_copy(update={"values": values}))
    assert "ms a UNet call" not in render(read_evidence(study), summarize_outcome(study))


def test_without_a_measured_design_there_is_no_answer_yet(tmp_path: Path) -> None:
    made = make_study(tmp_path / "study", BUDGET)
    sample_study(made)
    label_by_params(made)
    assert '<div class="answer">' not in render(read_evidence(made), summarize_outcome(made))


def test_a_gallery_has_every_column_and_escapes_its_captions(study: StudyFolder) -> None:
    images = {name: f"data:image/webp;base64,{name}" for name in ("original", "masked", "teacher")}
    study.compare_dir.mkdir()
    text = json.dumps({"schema": 1, "rows": [{"caption": EVIL, "images": images}]})
    (study.compare_dir / "gallery.json").write_text(text)
    html = render(read_evidence(study), summarize_outcome(study))
    assert "<script>alert" not in html
    assert html.count("<option") == 6
    assert 'src="data:image/webp;base64,teacher"' in html


@pytest.mark.parametrize(
    "source",
    [
        "https://example.org/seen.png",
        "//example.org/seen.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        'data:image/png;base64,AA" onerror="alert(1)',
        "javascript:alert(1)",
    ],
)
def test_a_picture_that_is_not_in_the_page_itself_is_left_out_and_said(
    study: StudyFolder, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study.compare_dir.mkdir()
    text = json.dumps({"schema": 1, "rows": [{"caption": "a", "images": {"teacher": source}}]})
    (study.compare_dir / "gallery.json").write_text(text)
    html = render(read_evidence(study), summarize_outcome(study))
    assert source not in html
    assert "example.org" not in html
    assert "left out of the report" in capsys.readouterr().err


def test_the_page_allows_only_itself(study: StudyFolder) -> None:
    html = render(read_evidence(study), summarize_outcome(study))
    script = html[html.index("<script>") + 8 : html.index("</script>")]
    sha256 = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert html.count("<script") == 1
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="(.*?)"', html)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["script-src"] == f"'sha256-{sha256}'"


def test_published_values_are_a_table_of_the_page(study: StudyFolder) -> None:
    outcome = summarize_outcome(study)
    rows = (("teacher", "measured", "5 ± 0.25"), (EVIL, "published", "12.5"))
    beside = Beside(("fd_efflite0",), rows, "published by somebody; other scenes")
    html = render(read_evidence(study), replace(outcome, beside=beside))
    part = html[html.index("Beside published values") :]
    assert "<th>from</th>" in part
    assert "<td>5 ± 0.25</td>" in part
    assert "Published by somebody; other scenes." in part
    assert "<script>alert" not in html
    none = replace(outcome, beside=Beside(("fid",), (), "published values are not shown"))
    page = render(read_evidence(study), none)
    assert "Published values are not shown." in page
    assert "<th>from</th>" not in page
    assert "Beside published" not in render(read_evidence(study), outcome)


def test_the_runtimes_of_an_export_are_a_table_and_nobody_asked_for_is_none(
    study: StudyFolder,
) -> None:
    evidence, outcome = read_evidence(study), summarize_outcome(study)
    assert "Runtimes of" not in render(evidence, outcome)
    folder = study.make(study.pipelines_dir / "autobuild-1")
    made = table(
        runtime("torch float32", 80.0, 20.0), runtime("ONNX int8", 85.0, 30.0), absent={EVIL: EVIL}
    )
    (folder / "runtimes.json").write_text(made.to_json())
    page = render(evidence, outcome)
    assert "<h2>Runtimes of autobuild-1 (tiny model)</h2>" in page
    assert '<td class="text">ONNX int8</td><td>85 ± ' in page
    assert "Slower here than torch float32: ONNX int8 (1.5 times)." in page
    assert EVIL not in page
