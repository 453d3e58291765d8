"""The embedded teacher and a very small study of it, made once."""

from __future__ import annotations

import pytest
import torch

from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import RecoveryRecipe
from sdsearch.pipelines import open_pipeline
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.sampling import latency


@pytest.fixture(scope="session")
def teacher():
    return load_teacher(open_pipeline("tiny"), torch.device("cpu"))


@pytest.fixture(autouse=True)
def paint_once(monkeypatch):
    """What a picture costs is told by one: no test waits for nine."""
    monkeypatch.setattr(latency, "LONG", 0.0)


@pytest.fixture(scope="session")
def small():
    """A protocol that labels in about a second."""
    return Protocol(
        samples=6,
        block_size=4,
        steps=2,
        feature_size=32,
        recovery=RecoveryRecipe(steps=2, batch_size=2),
    )
