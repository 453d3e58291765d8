from __future__ import annotations

from pathlib import Path

import pytest

from sdsearch.keys import content_key
from sdsearch.labels.content import Content, ResolvedProtocol, find_difference, former_keys
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import RecoveryRecipe

READ = {"photos": "5f0c", "captions": "77a1", "pool": "19be"}
FILES = {"dataset": "photos", "masks": "masks", "extractor": "clip:clip"}


def key_of(content: dict[str, str], **fields: str) -> str:
    protocol = Protocol.model_validate(fields)
    return ResolvedProtocol(protocol=protocol, content=Content(**content)).key


@pytest.mark.parametrize("spelled", ["photos", "photos/", "./photos", "/mnt/photos", "../x"])
def test_no_path_is_part_of_the_key(spelled: str) -> None:
    assert key_of(READ, dataset=spelled) == key_of(READ, dataset="elsewhere")
    read = {**READ, "masks": "0a", "extractor": "0b"}
    paths = {"dataset": spelled, "masks": spelled, "extractor": f"clip:{spelled}"}
    assert key_of(read, **paths) == key_of(read, **FILES)


@pytest.mark.parametrize("name", Content.model_fields)
def test_everything_that_files_hold_is_part_of_the_key(name: str) -> None:
    read = {**READ, "masks": "0a", "extractor": "0b"}
    assert key_of({**read, name: "ff"}, **FILES) != key_of(read, **FILES)


def test_settings_beside_files_are_part_of_the_key() -> None:
    assert key_of(READ, dataset="photos", masks="box") != key_of(READ, dataset="photos")
    read = {**READ, "extractor": "0b"}
    clip = key_of(read, dataset="photos", extractor="clip:x")
    assert clip != key_of(read, dataset="photos", extractor="inception:x")


def test_unread_files_give_the_key_of_no_label() -> None:
    unread = ResolvedProtocol(protocol=Protocol(dataset="photos"))
    assert not unread.is_read
    assert unread.key not in {key_of(READ, dataset="photos"), *former_keys(unread.protocol)}
    assert ResolvedProtocol(protocol=Protocol()).is_read


def test_the_official_weights_are_the_same_wherever_their_file_lies() -> None:
    assert key_of({}, extractor="fid") == key_of({}, extractor="fid:/mnt/inception.pth")


@pytest.mark.parametrize(
    "spelled", ["photos", "photos/", "./photos", str(Path("photos").absolute())]
)
def test_labels_named_by_a_path_are_known_under_every_spelling_of_it(spelled: str) -> None:
    then = {**Protocol(dataset=spelled).model_dump(mode="json"), "strength": 1.0}
    assert content_key(then) in former_keys(Protocol(dataset="photos"))
    other = {**Protocol(dataset="others").model_dump(mode="json"), "strength": 1.0}
    assert content_key(other) not in former_keys(Protocol(dataset="photos"))
    assert former_keys(Protocol()) == frozenset()


def test_the_one_difference_is_said_with_both_values() -> None:
    here = ResolvedProtocol(protocol=Protocol()).settings
    there = ResolvedProtocol(protocol=Protocol(steps=20)).settings
    assert find_difference(there, here) == "steps is 20 there and 8 here"
    recipe = ResolvedProtocol(protocol=Protocol(recovery=RecoveryRecipe(steps=7))).settings
    assert find_difference(recipe, here) == "recovery.steps is 7 there and 30 here"


def test_no_difference_and_two_are_not_one() -> None:
    here = ResolvedProtocol(protocol=Protocol()).settings
    assert find_difference(here, here) is None
    two = ResolvedProtocol(protocol=Protocol(steps=20, guidance=2.0)).settings
    assert find_difference(two, here) is None
    assert find_difference({}, here) is None


def test_all_that_files_hold_is_one_thing() -> None:
    protocol = Protocol(dataset="photos")
    here = ResolvedProtocol(protocol=protocol, content=Content(**READ))
    other = Content(**{**READ, "photos": "00", "captions": "01"})
    there = ResolvedProtocol(protocol=protocol, content=other)
    said = find_difference(there.settings, here.settings)
    assert said == "files hold something else: photos, captions"
    both = ResolvedProtocol(protocol=protocol.model_copy(update={"steps": 20}), content=other)
    assert find_difference(both.settings, here.settings) is None
