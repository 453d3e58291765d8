from sdsearch.errors import InputError, WorkError, nearest


def test_nearest_finds_a_misspelt_name():
    assert nearest("sd41", ["tiny", "sd14", "sd14-blocks"]) == "sd14"


def test_wrong_input_and_failed_work_are_told_apart():
    assert not issubclass(InputError, WorkError)
    assert not issubclass(WorkError, InputError)
