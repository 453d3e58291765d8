from __future__ import annotations

import math

import pytest

from sdsearch.errors import InputError
from sdsearch.labels.label import Failure
from sdsearch.labels.target import Target
from tests.fakes import make_label


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("-log(fd_efflite0)", -math.log(50.0)),
        ("-fd_efflite0 - 0.2*latency_ms", -50.0 - 0.2 * 120.0),
        ("100**psnr_hole/log10(latency_ms)", 100**2.0 / math.log10(120.0)),
        ("max(params, 1, psnr_hole) / 1e6", 3.0),
        ("+abs(-psnr_hole) + sqrt(4)*min(1, 2)", 4.0),
    ],
)
def test_a_column_is_its_value_else_its_median_else_the_scalar(
    expression: str, value: float
) -> None:
    label = make_label(
        fd_efflite0={"value": 50.0, "se": 1.0, "n": 8},
        psnr_hole={"value": 2.0},
        latency_ms={"median": 120.0, "iqr": 2.0, "device": "cpu"},
        params=3_000_000,
    )
    assert Target(expression).evaluate(label) == pytest.approx(value)


def test_columns_are_named_once_in_order() -> None:
    assert Target("a + b*a - log(c)").columns == ("a", "b", "c")


@pytest.mark.parametrize(
    "expression",
    [
        "fd.__class__",
        "__import__('os')",
        "fd[0]",
        "exec(fd)",
        "(lambda: fd)()",
        "[fd for fd in fd]",
        "fd if fd else fd",
        "fd and fd",
        "fd < 3",
        "fd := 3",
        "fd // 2",
        "'text' + fd",
        "True * fd",
        "log(fd, base=2)",
        "log(fd, 2)",
        "log(*fd)",
        "min(fd)",
        "log",
        "log(log)",
        "fd +",
        "",
        "1 + 2",
        "fd; fd",
        "fd\x00",
        "(" * 300 + "fd" + ")" * 300,
        "fd" + "+fd" * 300,
        "1j * fd",
    ],
)
def test_everything_but_arithmetic_over_columns_is_refused(expression: str) -> None:
    with pytest.raises(InputError):
        Target(expression)


def test_an_unknown_function_and_an_unknown_column_name_the_nearest() -> None:
    with pytest.raises(InputError, match="log10"):
        Target("log11(fd)")
    with pytest.raises(InputError, match="fd_efflite0"):
        Target("-fd_eflite0").evaluate(make_label(fd_efflite0=1.0))


@pytest.mark.parametrize(
    "expression", ["log(fd)", "1 / fd", "sqrt(fd - 1)", "(fd - 8)**0.5", "9**9**9**9 + fd"]
)
def test_an_undefined_value_is_explained_with_the_numbers(expression: str) -> None:
    with pytest.raises(InputError, match="fd = 0"):
        Target(expression).evaluate(make_label(fd=0.0))


@pytest.mark.parametrize(
    ("expression", "marked"),
    [
        ("-log(fd) + fd.real", "fd.real"),
        ("fd * exp(fd)", "exp(fd)"),
        ("2 + __import__", "__import__"),
        ("é - 1", "é"),
        ("fd + 9**9**9**9", "9**9**9"),
        ("1 + log(fd - 50)", "log(fd - 50)"),
        ("log(fd) + no_column", "no_column"),
        ("min(fd)", "min(fd)"),
    ],
)
def test_a_refusal_marks_the_place(expression: str, marked: str) -> None:
    with pytest.raises(InputError) as refused:
        Target(expression).evaluate(make_label(fd=50.0))
    *_, line, marks = str(refused.value).splitlines()
    assert line[2:] == expression
    start = marks.index("^")
    assert line[start : start + marks.count("^")] == marked


def test_the_error_of_a_target_follows_from_those_of_its_columns() -> None:
    label = make_label(
        fd={"value": 100.0, "se": 2.0, "n": 8}, psnr={"value": 20.0, "se": 0.3, "n": 8}, params=5
    )
    assert Target("-log(fd)").standard_error(label) == pytest.approx(0.02, rel=1e-3)
    both = Target("psnr - 0.1 * fd").standard_error(label)
    assert both == pytest.approx((0.3**2 + 0.2**2) ** 0.5)
    assert Target("params * 2").standard_error(label) is None
    assert Target("sqrt(fd - 99)").standard_error(label) is None
    assert (
        Target("fd").standard_error(make_label(failure=Failure(kind="architecture", message="x")))
        is None
    )


def test_a_failed_label_has_no_target() -> None:
    with pytest.raises(InputError, match="out of memory"):
        Target("fd").evaluate(
            make_label(failure=Failure(kind="architecture", message="out of memory"))
        )
