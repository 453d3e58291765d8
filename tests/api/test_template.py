from __future__ import annotations

from sdsearch.api.template import fill_template


def test_a_template_keeps_its_comments_in_their_columns_and_gets_what_it_lacks() -> None:
    template = '[a]\nx = 1        # one\ny = "b"      # two\n\n[b]   # the second\nz = 3\n'
    settings = {"a": {"x": 20, "y": "a long value", "w": [True, 1e-5]}, "c": {"v": {}}}
    assert fill_template(template, settings) == (
        "[a]\n"
        "x = 20       # one\n"
        'y = "a long value" # two\n'
        "w = [true, 1e-05]\n"
        "\n"
        "[b]   # the second\n"
        "z = 3\n"
        "\n"
        "[c]\n"
        "v = {}\n"
    )


def test_a_table_of_a_section_may_stand_apart_in_a_template() -> None:
    template = "[a]\nx = 1\n\n[a.b]     # its table\ny = 2     # two\n"
    settings = {"a": {"x": 3, "b": {"y": 4, "z": [5]}, "w": 6}}
    assert fill_template(template, settings) == (
        "[a]\nx = 3\nw = 6\n\n[a.b]     # its table\ny = 4     # two\nz = [5]\n"
    )
    assert fill_template(template, {"a": {"b": {"y": 4}}}) == (
        "[a]\nx = 1\n\n[a.b]     # its table\ny = 4     # two\n"
    )
