"""Text of others is text wherever it is shown: on a terminal, in HTML, in Markdown."""

from __future__ import annotations

import io
import json
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sdsearch.cli.options import show
from sdsearch.console import make_console, print_plainly
from sdsearch.export.papers import model_card
from sdsearch.export.recovered import read_source
from sdsearch.files.markdown import as_code, as_text
from sdsearch.labels.label import Failure
from sdsearch.report.findings import read_evidence
from sdsearch.report.outcome import summarize_outcome
from sdsearch.report.page import render
from sdsearch.shell import show_plainly
from tests.fakes import (
    label_by_params,
    list_members,
    make_design,
    make_label,
    make_study,
    tiny_member,
)

PIECES = (
    *("<script>alert(1)</script>", "<img src=x onerror=y>", "-->", "]]>", "'", '"', "&lt;"),
    *("[a](javascript:b)", "![a](b)", "](c)", "<http://a.b>", "http://a.b", "www.a.b", "{{ 7 }}"),
    *("|", "`", "```", "**", "_a_", "~~", "\\", "# ", "- ", "+ ", "1. ", "> ", "---", "==="),
    *("\x1b[31m", "\x1b]0;a\x07", "\x9b2J", "\x7f", "\t", "\n", "\r"),
    *("\u202e", "\u2066", "\u200f", "\u2028", "a", " ", "é", "漢"),
)
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
ANY = HOSTILE | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
ALL = "".join(PIECES)


def steers(shown):
    """Whether text would move a terminal's cursor, or turn the direction of its writing."""
    return any(
        (unicodedata.category(one) in ("Cc", "Zl", "Zp") and one not in "\n\t")
        or unicodedata.bidirectional(one) in BIDI
        or one in "\u061c\u200e\u200f"
        for one in shown
    )


# The terminal


@given(ANY)
def test_text_that_is_shown_steers_no_terminal(text):
    assert not steers(show_plainly(text))
    line = show_plainly(text, one_line=True)
    assert not steers(line)
    assert "\n" not in line
    if not steers(text):
        assert show_plainly(text) == text


@settings(max_examples=20, deadline=None)
@given(ANY)
def test_whatever_prints_shows_text_so(text):
    from rich.table import Table

    console = make_console()
    console.file = io.StringIO()
    console.print(text, soft_wrap=True)
    table = Table(text)
    table.add_row(text)
    console.print(table)
    assert not steers(console.file.getvalue())
    assert not steers(print_plainly(table, 100))


def test_commands_print_by_that(capsys):
    show(f"label {ALL}", one_line=True)
    said = capsys.readouterr().out
    assert not steers(said)
    assert said.count("\n") == 1


# Markdown


def tokens_of(markdown):
    """What a reader of Markdown takes it for, piece by piece, without the words."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found = []
    for token in reader.parse(markdown):
        found.append((token.type, token.tag))
        found += [(one.type, one.tag) for one in token.children or () if one.type != "text_special"]
    return [kind for i, kind in enumerate(found) if kind != ("text", "") or found[i - 1] != kind]


def words_of(markdown):
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    inline = [one for token in reader.parse(markdown) for one in token.children or ()]
    return " ".join("".join(one.content for one in inline).split())


@settings(max_examples=40, deadline=None)
@given(ANY)
def test_text_in_markdown_is_text(text):
    shown = as_text(text)
    assert "\n" not in shown
    plain = shown.strip() or "a"
    for frame in ("Begins {}.", "- {}", "{}", "| a | b |\n|---|---|\n| {} | b |"):
        if shown.strip() or "|" in frame:
            assert tokens_of(frame.format(plain)) == tokens_of(frame.format("a")), frame
    words = "".join(" " if unicodedata.category(one) in ("Cc", "Zl", "Zp") else one for one in text)
    assert words_of(f"x {shown}") == " ".join(f"x {words}".split())
    assert "://" not in shown
    assert "www." not in shown


def test_a_dollar_begins_no_formula():
    assert as_text("$x$ for 5 $") == r"\$x\$ for 5 \$"


@settings(max_examples=40, deadline=None)
@example("")
@given(ANY)
def test_code_in_markdown_is_code(text):
    shown = as_code(text)
    for frame in ("Begins {}.", "| a | b |\n|---|---|\n| {} | b |"):
        assert tokens_of(frame.format(shown)) == tokens_of(frame.format("`a`")), frame


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("card") / "study")
    design = make_design(tiny_member("bk-tiny"), "autobuild", 1, "a")
    return read_source(design, study, "teacher")


@settings(max_examples=10, deadline=None)
@given(HOSTILE, HOSTILE)
def test_a_card_says_what_others_wrote_as_words(source, reason, column):
    def card(reason, column):
        design = source.design.model_copy(update={"reasons": (f"a{reason}",)})
        protocol = source.study.config.protocol.model_copy(update={"dataset": f"a{reason}"})
        config = source.study.config.model_copy(update={"protocol": protocol})
        study = replace(source.study, config=config)
        label = make_label(tiny_member(), **{f"a{column}": {"value": 1.0, "se": None, "n": 4}})
        return model_card(replace(source, design=design, study=study, label=label))

    body = card(reason, column).split("\n---\n", 1)[1]
    assert tokens_of(body) == tokens_of(card("a", "a").split("\n---\n", 1)[1])


# HTML


class Outline(HTMLParser):
    """Tags with the names of their attributes, and all addresses."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, *(name for name, _ in attrs)))
        self.addresses += [said for name, said in attrs if name in ("src", "href", "srcset")]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("page") / "study")
    list_members(study, [tiny_member("teacher"), tiny_member("bk-tiny")])
    label_by_params(study)
    return read_evidence(study)


@settings(max_examples=4, deadline=None)
@given(HOSTILE, HOSTILE)
def test_the_report_says_what_others_wrote_as_words(evidence, said, name):
    outcome = summarize_outcome(evidence.study)
    place = evidence.study.compare_dir
    place.mkdir(exist_ok=True)

    def page(said, name):
        design = make_design(tiny_member("bk-small"), "autobuild", 1, f"a{said}")
        failed = make_label(
            tiny_member("bk-base"),
            failure=Failure(kind="lost", message=f"a{said}"),
            protocol_key=evidence.study.protocol_key,
            provenance={"teacher_sha256": f"a{said}", "versions": {f"a{name}": f"a{said}"}},
        )
        other = make_label(tiny_member("bk-tiny"), seed=1, **{f"a{name}": 1.0})
        image = {f"a{name}": "data:image/png;base64,aaaa"}
        rows = [{"caption": f"a{said}", "images": image}]
        (place / "gallery.json").write_text(json.dumps({"schema": 1, "rows": rows}))
        labels = (*evidence.labels, failed, other)
        return Outline(render(replace(evidence, designs=(design,), labels=labels), outcome))

    found = page(said, name)
    assert found.tags == page("a", "a").tags
    assert all(one.startswith(("#", "data:image/")) for one in found.addresses)


@pytest.mark.parametrize(
    "address", ["javascript:a", "http://a.b/c.png", "data:text/html,a", "x.png"]
)
def test_a_picture_from_a_file_is_in_the_page_or_left_out(evidence, address):
    place = evidence.study.compare_dir
    place.mkdir(exist_ok=True)
    rows = [{"caption": "a", "images": {"a": address}}]
    (place / "gallery.json").write_text(json.dumps({"schema": 1, "rows": rows}))
    assert address not in render(evidence, summarize_outcome(evidence.study))
