from __future__ import annotations

import functools

import pytest

from sdsearch.adapters import reading
from sdsearch.adapters.modules import weight_shapes

SHAPES = functools.cache(weight_shapes)


@pytest.fixture(autouse=True)
def one_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher's shapes are looked up once for all tests: a UNet is built for them."""
    monkeypatch.setattr(reading, "weight_shapes", SHAPES)
