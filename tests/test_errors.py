import pickle

import pytest

from sdsearch.errors import FieldError, InputError, WorkError, suggest

SPACES = ["tiny", "sd14", "sd14-blocks"]


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("sd41", "sd14"), ("sd15", "sd14"), ("tinny", "tiny"), ("sd14-block", "sd14-blocks")],
)
def test_a_slip_gets_the_name_that_was_meant(slip, meant):
    assert suggest(slip, SPACES, "or else") == f"; did you mean {meant!r}?"


@pytest.mark.parametrize("name", ["zzz", "", "flux", "1", 7])
def test_a_name_that_is_near_none_gets_no_guess(name):
    assert suggest(name, SPACES) == ""
    assert suggest(name, SPACES, "see docs") == "; see docs"
    assert suggest(name, []) == ""


def test_wrong_input_and_failed_work_are_told_apart():
    assert not issubclass(InputError, WorkError)
    assert not issubclass(WorkError, InputError)


def test_a_field_error_says_its_facts_and_holds_them_in_another_process_too():
    error = FieldError("act_fn", "gelu", "'silu'", "take another UNet")
    assert str(error) == "act_fn must be 'silu', but it is 'gelu': take another UNet"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (made here)
    assert (again.field, again.value, again.wanted) == ("act_fn", "gelu", "'silu'")
    assert str(again) == str(error)
