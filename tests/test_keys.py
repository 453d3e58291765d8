import hashlib

import pytest

from sdsearch.keys import canonical_json, content_key, file_sha256


def test_the_order_of_keys_does_not_change_the_key():
    assert content_key({"a": 1, "b": [True, None]}) == content_key({"b": [True, None], "a": 1})


def test_the_key_is_the_start_of_the_hash_of_the_compact_text():
    assert canonical_json({"b": 1, "a": [1, "x"]}) == '{"a":[1,"x"],"b":1}'
    assert content_key([]) == hashlib.sha256(b"[]").hexdigest()[:12]


def test_different_values_have_different_keys():
    assert content_key([0]) != content_key([1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_cannot_hold_are_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"fid": value})


def test_a_file_is_hashed_by_its_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(data)
    assert file_sha256(tmp_path / "f") == hashlib.sha256(data).hexdigest()
