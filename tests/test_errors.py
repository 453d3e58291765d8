import pickle

from sdsearch.errors import FieldError, InputError, WorkError, nearest


def test_nearest_finds_a_misspelt_name():
    assert nearest("sd41", ["tiny", "sd14", "sd14-blocks"]) == "sd14"


def test_wrong_input_and_failed_work_are_told_apart():
    assert not issubclass(InputError, WorkError)
    assert not issubclass(WorkError, InputError)


def test_a_field_error_says_its_facts_and_holds_them_in_another_process_too():
    error = FieldError("act_fn", "gelu", "'silu'", "take another UNet")
    assert str(error) == "act_fn must be 'silu', but it is 'gelu': take another UNet"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 (made here)
    assert (again.field, again.value, again.wanted) == ("act_fn", "gelu", "'silu'")
    assert str(again) == str(error)
