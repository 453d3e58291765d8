"""A file system that fails at any one write: a message, no blame, and the next run ends well."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from sdsearch.files import writing
from sdsearch.shell import run_command
from sdsearch.stages.label import label_study
from sdsearch.stages.sample import sample_study
from sdsearch.study.listing import read_listing
from sdsearch.weights.notes import origin_of, rename_noted, write_noted
from sdsearch.workers.claims import read_attempts
from sdsearch.workers.job import LabelJob, open_claims
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.recovery.progress import Progress, begin_recovery
from tests.fakes import make_study
from tests.hostile.in_process import Desk
from tests.stand_in import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdsearch.study.folder import StudyFolder

ERRORS = cycle([errno.EIO, errno.ENOSPC, errno.ESTALE])


class Faults:
    """Fails at one call of all that writes, and counts them: opening, flushing and naming."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.struck, self.error = -1, False, errno.EIO
        self.lasting = False
        for place, name in (
            *((os, name) for name in ("fsync", "link")),
            *((Path, name) for name in ("replace", "mkdir")),
            (writing, "_write_through"),
        ):
            monkeypatch.setattr(place, name, self.failing(getattr(place, name)))

    def failing(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self.left -= 1
            if self.left == 0 or (self.struck and self.lasting):
                self.struck = True
                raise OSError(self.error, os.strerror(self.error), str(arguments[0]))
            return real(*arguments, **options)

        return call

    def at_each(self, limit: int = 500) -> Iterator[int]:
        """Numbers of calls to strike at: the first, the second, until there is none of it."""
        for number in count(1):
            self.struck, self.error = False, next(ERRORS)
            yield number
            if not self.struck:
                return
            assert number < limit

    @contextmanager
    def striking(self, number: int, *, lasting: bool = False) -> Iterator[None]:
        """Strike at the call of this number, and perhaps from there on at all."""
        self.left, self.lasting = number, lasting
        try:
            yield
        except OSError as error:
            if error.errno != self.error:
                raise
        finally:
            self.left, self.lasting = -1, False


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


def work(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> int:
    """Sample and label a study, as a command does; its exit code."""

    def both() -> int:
        sample_study(study)
        desk = Desk(study.series, read_listing(study).architectures)
        monkeypatch.setattr(LabelJob, "open_labeller", lambda job: desk)
        label_study(study, only=KEYS[:1])
        return 0

    return run_command(both)


def results(study: StudyFolder) -> dict[str, str]:
    return {x.arch_key: f"{x.status} {x.values}" for x in study.labels.read_all()}


@pytest.mark.parametrize(
    "lasting", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "from there on"]
)
def test_a_study_goes_on_after_any_one_write_has_failed_and_blames_nobody(
    lasting: bool,
    tmp_path: Path,
    faults: Faults,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    toml = "[space]\nlabels = 1\n[label]\nlease = 0.4\n"  # of its own claims, which seem alive
    alone = make_study(tmp_path / "alone", toml)
    assert work(alone, monkeypatch) == 0
    for number in faults.at_each():
        study = make_study(tmp_path / f"study-{number}", toml)
        with faults.striking(number, lasting=lasting):
            code = work(study, monkeypatch)
        said = capsys.readouterr().err
        assert code in (0, 1)
        assert "Traceback" not in said
        assert "not foreseen" not in said
        if code:
            last = said.splitlines()[-1]
            assert last.startswith("failed: "), last
            assert os.strerror(faults.error) in last
        assert work(study, monkeypatch) == 0
        assert results(study) == results(alone)
        folders = open_claims(study).folder.glob("*/")
        assert not [x for f in folders for x in read_attempts(f) if x.state == "lost"]
        assert not list(study.root.rglob("*.partial"))
    assert number > 10


def test_a_cache_is_whole_or_made_again_wherever_its_writing_fails(
    tmp_path: Path, faults: Faults
) -> None:
    made = {"one": torch.arange(5.0)}
    for number in faults.at_each():
        cache = TensorCache(tmp_path / str(number), {"of": "this"})
        with faults.striking(number):
            cache.get("tensors", lambda: made)
        assert torch.equal(cache.get("tensors", lambda: made)["one"], made["one"])
        assert not list((tmp_path / str(number)).rglob("*.partial"))
    assert number > 3


def test_weights_are_those_of_their_note_or_made_again_wherever_writing_fails(
    tmp_path: Path, faults: Faults
) -> None:
    for number in faults.at_each():
        weights, again = (
            tmp_path / f"{number}.safetensors",
            tmp_path / f"{number}-again.safetensors",
        )
        write_noted(weights, b"old", "old")
        with faults.striking(number):
            write_noted(again, b"new", "new")
            rename_noted(again, weights)
        known = origin_of(weights)
        assert known in (None, weights.read_bytes().decode())
    assert number > 5


def test_a_checkpoint_is_the_old_one_or_the_new_one_wherever_its_writing_fails(
    tmp_path: Path, faults: Faults
) -> None:
    from sdsearch.labels import LongRecovery

    recipe, path = LongRecovery(ema=0), tmp_path / "checkpoint.pt"
    net = torch.nn.Linear(2, 2)
    net.device = torch.device("cpu")
    begin_recovery(net, recipe, path, "this").save(path, "this")
    for number in faults.at_each():
        now = Progress(net, torch.optim.AdamW(net.parameters()), [], step=number)
        with faults.striking(number):
            now.save(path, "this")
        kept = torch.load(path, weights_only=True)["step"]
        assert kept == (number - 1 if faults.struck else number)
        assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]
        now.save(path, "this")
    assert number > 2
