from __future__ import annotations

import torch

from sdsearch_eval.cache import TensorCache


def test_a_value_is_made_once_and_read_again(tmp_path):
    made = []

    def make():
        made.append(1)
        return {"x": torch.arange(6.0).view(2, 3)}

    cache = TensorCache(tmp_path, {"protocol": "a"})
    first, second = cache.get("x", make), cache.get("x", make)
    assert len(made) == 1
    assert torch.equal(first["x"], second["x"])
    assert first["x"].stride() == second["x"].stride()


def test_other_content_never_meets_an_entry(tmp_path):
    one, two = (TensorCache(tmp_path, {"teacher": name}) for name in "ab")
    one.get("x", lambda: {"x": torch.zeros(1)})
    assert two.get("x", lambda: {"x": torch.ones(1)})["x"].item() == 1


def test_a_damaged_entry_is_made_again(tmp_path):
    cache = TensorCache(tmp_path, {})
    cache.get("x", lambda: {"x": torch.zeros(4)})
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:20])
    assert cache.get("x", lambda: {"x": torch.ones(4)})["x"].sum() == 4
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"]
