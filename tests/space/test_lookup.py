import json

import pytest

from sdsearch.errors import InputError
from sdsearch.space.lookup import find_member
from sdsearch.space.space import search_space
from sdsearch.unet.backbone import SD14
from sdsearch.unet.config import unet_config
from tests.unets import TEACHER, widened

SPACE = search_space("sd14")


def test_a_member_is_found_by_name_number_and_config(tmp_path):
    arch = SPACE.members["bk-tiny"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(unet_config(arch, SD14)))
    for text in ("bk-tiny", str(SPACE.index(arch)), str(file)):
        assert find_member(text, SPACE) == arch


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("bk-tinny", "did you mean 'bk-tiny'"),
        ("704000", "704000"),
        ("-1", "a number below"),
        ("missing.json", "readable"),
    ],
)
def test_what_is_called_nothing_says_what_would_be_right(text, reason):
    with pytest.raises(InputError, match=reason):
        find_member(text, SPACE)


@pytest.mark.parametrize("content", ["[]", "{", '{"layers_per_block": 3}'])
def test_a_config_that_says_no_member_is_refused(tmp_path, content):
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(InputError):
        find_member(str(file), SPACE)


def test_a_member_of_another_space_is_refused_with_the_reason(tmp_path):
    file = tmp_path / "config.json"
    narrow = widened(TEACHER, (320, 480, 1280, 1280))
    file.write_text(json.dumps(unet_config(narrow, SD14)))
    with pytest.raises(InputError, match="level1 has width 480"):
        find_member(str(file), SPACE)
    assert find_member(str(file), search_space("sd14-wide")) == narrow
