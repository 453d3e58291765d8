from __future__ import annotations

import pytest
import torch

from sdsearch.errors import WorkError
from sdsearch_eval import seeds
from sdsearch_eval.seeds import derive_seed, derive_seeds


def test_seeds_are_the_first_32_bits_of_a_hash_in_every_process():
    assert derive_seed(0, "scene-test-0", "noise") == 25936378
    names = (f"scene-test-{i}" for i in range(1000))
    assert all(0 <= derive_seed(0, name, "mask") < 2**32 for name in names)


def test_seeds_differ_by_run_item_and_stream():
    found = {
        derive_seed(run, name, stream)
        for run in (0, 1)
        for name in ("a", "b")
        for stream in ("noise", "mask")
    }
    assert len(found) == 8


def test_names_cannot_be_glued_to_each_other():
    assert derive_seed(1, "1", "a") != derive_seed(11, "", "a")
    assert derive_seed(0, "a", "bc") != derive_seed(0, "ab", "c")


def test_a_collision_within_a_run_is_refused(monkeypatch):
    monkeypatch.setattr(seeds, "derive_seed", lambda *_: 7)
    with pytest.raises(WorkError, match="collide"):
        derive_seeds(0, ["a", "b"], "noise")


def test_ten_thousand_items_of_a_run_do_not_collide():
    found = derive_seeds(0, (f"scene-test-{i}" for i in range(10_000)), "noise")
    assert len(set(found)) == 10_000


def test_the_noise_of_torch_has_not_changed():
    values = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(1234)).flatten()[:4]
    expected = torch.tensor([-0.111719, -0.496590, 0.163074, -0.881688])
    assert torch.allclose(values, expected, atol=1e-5)
