"""What a whole picture costs: which networks are asked how often, and how its memory is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sdsearch.labels.protocol import Protocol
from sdsearch.pipelines import open_pipeline
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.data.sample import Sample, paint_prompts
from sdsearch_eval.devices import added_memory
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.sampling import latency
from sdsearch_eval.sampling.latency import LATENCY_CALLS, RUNS, measure_costs, measure_picture
from sdsearch_eval.sampling.sampling import prepare_inputs
from tests.fakes import tiny_member

WORDS = Path(__file__).parents[3] / "assets" / "worlds" / "words-16"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def painter():
    return load_teacher(open_pipeline(str(WORDS)), CPU)


def prompt():
    return paint_prompts(["a red house by a lake"], 64)[0]


def hole():
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    return Sample("hole", np.full((64, 64, 3), 90, np.uint8), "a lake", mask)


class Counts:
    """How many items each network is given, and by how many calls, while a picture is painted."""

    def __init__(self, teacher, unet, monkeypatch):
        self.given = {"text": [], "encode": [], "unet": [], "decode": []}
        self.hooks = [
            teacher.text_encoder.register_forward_pre_hook(
                lambda _, args: self.given["text"].append(len(args[0]))
            ),
            unet.register_forward_pre_hook(lambda _, args: self.given["unet"].append(len(args[0]))),
        ]
        for name in ("encode", "decode"):
            monkeypatch.setattr(teacher.vae, name, self._counted(name, getattr(teacher.vae, name)))

    def _counted(self, name, real):
        def run(items, **how):
            self.given[name].append(len(items))
            return real(items, **how)

        return run

    def close(self):
        for one in self.hooks:
            one.remove()
        return self.given


def measured(teacher, sample, monkeypatch, **settings):
    """The cost of a picture that is painted once, with what its networks were given."""
    protocol = Protocol(steps=3, **settings)
    unet = teacher.student(
        tiny_member("bk-tiny") if teacher.backbone.in_channels == 9 else UNPRUNED
    )
    inputs = prepare_inputs(teacher, [sample], 0)
    counts = Counts(teacher, unet, monkeypatch)
    cost = measure_picture(unet, teacher, inputs, sample, protocol)
    return cost, counts.close()


def test_a_hole_is_painted_with_text_encoder_and_all_of_the_autoencoder(teacher, monkeypatch):
    cost, given = measured(teacher, hole(), monkeypatch)
    assert given == {"text": [1], "encode": [1], "unet": [1, 1, 1], "decode": [1]}
    assert (cost.n, cost.steps, cost.guidance, cost.resolution) == (1, 3, 1.0, 64)
    assert cost.dtype == "float32"


def test_guidance_encodes_no_words_too_and_doubles_what_the_unet_is_given(teacher, monkeypatch):
    _, given = measured(teacher, hole(), monkeypatch, guidance=3.0)
    assert given == {"text": [2], "encode": [1], "unet": [2, 2, 2], "decode": [1]}


def test_words_on_four_channels_need_no_image(painter, monkeypatch):
    _, given = measured(painter, prompt(), monkeypatch, task="text-to-image")
    assert given == {"text": [1], "encode": [], "unet": [1, 1, 1], "decode": [1]}


def test_four_channels_see_the_image_that_a_hole_is_blended_into(painter, monkeypatch):
    _, given = measured(painter, hole(), monkeypatch)
    assert given["encode"] == [1]


def test_a_short_picture_is_painted_as_often_as_a_call_is_made(teacher, monkeypatch):
    monkeypatch.setattr(latency, "LONG", 20.0)
    sample, protocol = hole(), Protocol(steps=1)
    unet = teacher.student(tiny_member("bk-tiny"))
    sizes = []
    unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    inputs = prepare_inputs(teacher, [sample], 0)
    cost = measure_costs("small", unet, teacher, inputs, sample, protocol)
    assert sizes == [1] * (2 * LATENCY_CALLS)
    assert cost.name == "small"
    assert cost.latency_ms.n == cost.picture.n == RUNS
    assert cost.picture.seconds * 1e3 > cost.latency_ms.median > 0


def test_memory_is_that_of_the_weights_and_what_painting_takes_besides(teacher, monkeypatch):
    monkeypatch.setattr(latency, "added_memory", lambda device, work: [work(), 1000][1])
    cost, _ = measured(teacher, hole(), monkeypatch)
    unet = teacher.student(tiny_member("bk-tiny"))
    sizes = [
        parameter.numel() * 4
        for net in (unet, teacher.vae, teacher.text_encoder)
        for parameter in [*net.parameters(), *net.buffers()]
    ]
    assert cost.peak_bytes == pytest.approx(1000 + sum(sizes), rel=1e-3)
    monkeypatch.setattr(latency, "added_memory", lambda device, work: [work(), None][1])
    assert measured(teacher, hole(), monkeypatch)[0].peak_bytes is None


def test_memory_that_work_takes_and_gives_back_is_seen_on_linux():
    size = 64 << 20

    def work():
        np.ones(size, np.uint8).sum()

    found = added_memory(CPU, work)
    if found is None:
        pytest.skip("this machine does not tell a process's peak")
    assert found == pytest.approx(size, rel=0.1)
    # What was taken before is there no longer.
    assert added_memory(CPU, lambda: None) < size / 4


def test_where_a_peak_cannot_be_watched_work_is_done_and_nothing_is_claimed(monkeypatch):
    done = []
    monkeypatch.setattr("sdsearch_eval.devices._watch_process", lambda: False)
    assert added_memory(CPU, lambda: done.append(1)) is None
    assert added_memory(torch.device("mps"), lambda: done.append(2)) is None
    assert done == [1, 2]
