from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
from pydantic import ValidationError

from sdsearch.labels.choices import Crop
from sdsearch.labels.content import ResolvedProtocol
from sdsearch.labels.label import Series
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import RecoveryRecipe
from sdsearch.labels.store import LabelStore
from tests.fakes import make_label

if TYPE_CHECKING:
    from pathlib import Path


def key_of(protocol: Protocol) -> str:
    return ResolvedProtocol(protocol=protocol).key


def test_every_field_changes_the_key() -> None:
    changed = [
        {"masks": "box"},
        {"resolution": 128},
        {"samples": 128},
        {"block_size": 16},
        {"steps": 20},
        {"guidance": 2.0},
        {"extractor": "fid"},
        {"feature_size": 224},
        {"threads": 1},
        {"mask_convention": "lama"},
        {"mask_geometry": "cropped"},
        {"lpips": "alex"},
        {"task": "text-to-image"},
        {"task": "text-to-image", "compared_size": 32},
        {"tf32": True},
        {"compile": True},
        {"crop": "hole"},
        {"crop": "hole", "crop_padding": 16},
        {"recovery": RecoveryRecipe(precision="bfloat16")},
        {"recovery": RecoveryRecipe(teacher_dtype="float16")},
        {"recovery": RecoveryRecipe(optimizer="adamw8bit")},
        {"recovery": RecoveryRecipe(steps=0)},
        {"recovery": RecoveryRecipe(losses={"output": 1.0, "task": 0.5})},
    ]
    keys = {ResolvedProtocol(protocol=Protocol(**fields)).key for fields in changed} | {
        key_of(Protocol())
    }
    assert len(keys) == len(changed) + 1


def test_later_fields_leave_the_key_of_committed_labels_alone() -> None:
    assert key_of(Protocol()) == "2c4fb3a74bcb"


def test_labels_of_two_crops_never_meet(tmp_path: Path) -> None:
    keys = [key_of(Protocol(crop=crop)) for crop in get_args(Crop)]
    store = LabelStore(tmp_path)
    for value, key in enumerate(keys):
        store.write(make_label(protocol_key=key, fd_efflite0={"value": value, "n": 6}))
    for value, key in enumerate(keys):
        (label,) = store.read_series(Series(key, 0)).values()
        assert label.values["fd_efflite0"].value == value


def test_the_same_numbers_written_differently_have_the_same_key() -> None:
    written = Protocol.model_validate({"guidance": 1, "recovery": {"learning_rate": 0.0005}})
    assert key_of(written) == key_of(Protocol())


def test_the_key_survives_a_round_trip_through_json() -> None:
    protocol = Protocol(masks="thick", recovery=RecoveryRecipe(steps=7))
    read = Protocol.model_validate_json(protocol.model_dump_json())
    assert key_of(read) == key_of(protocol)


@pytest.mark.parametrize(
    "fields",
    [
        {"strength": 1.0},
        {"steps": 0},
        {"guidance": float("nan")},
        {"seed": 1},
        {"resolution": 60},
        {"dtype": "int8"},
        {"revision": 1},
        {"crop": "face"},
        {"crop_padding": 16},
        {"crop": "hole", "crop_padding": 0},
        {"crop": "hole", "crop_padding": 16, "lpips": "alex"},
        {"crop": "hole", "task": "text-to-image"},
    ],
)
def test_what_cannot_be_measured_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Protocol.model_validate(fields)
