from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from sdsearch.space.space import search_space
from sdsearch.unet.backbone import SD14, TINY
from sdsearch.unet.config import student_path
from sdsearch.unet.cost import count_params
from sdsearch.unet.graph import EDGES, active_edges, build_graph
from sdsearch.unet.slots import SLOTS, SLOTS_BY_NAME
from tests.unets import TEACHER, hard_members, inputs, predict, random_members, random_unet

NUMBER = {slot.name: number for number, slot in enumerate(SLOTS)}


class CatParts(TorchFunctionMode):
    """Remembers what each `torch.cat` joined; keeps the tensors alive, so that ids stay unique."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[int, list[int]] = {}
        self.alive: list[Any] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.cat:
            self.parts[id(result)] = [id(part) for part in args[0]]
            self.alive += [result, *args[0]]
        return result


def hooked_wiring(arch) -> set[tuple[str, str, str]]:
    """(source, target, kind) among the kept slots, seen in a forward pass of the real UNet."""
    unet = random_unet(arch)
    cats = CatParts()
    maker: dict[int, str] = {}
    seen: set[tuple[str, str, str]] = set()

    def hook(name):
        def record(_, args, output):
            output = output[0] if isinstance(output, tuple) else output
            cats.alive += [args[0], output]
            sources = cats.parts.get(id(args[0]), [id(args[0])])
            if name in arch.ghost_slots:  # an identity: hands on its input
                maker[id(output)] = maker[id(args[0])]
                return
            for kind, source in zip(("main", "skip"), sources, strict=False):
                if source in maker:
                    seen.add((maker[source], name, kind))
            maker[id(output)] = name

        return record

    for name in arch.kept_slots | arch.ghost_slots:
        # The final norm is part of the slot conv_out and takes its input.
        slot = SLOTS_BY_NAME[name]
        path = "conv_norm_out" if name == "conv_out" else student_path(slot, arch)
        unet.get_submodule(path).register_forward_hook(hook(name))
    with cats:
        predict(unet, *inputs())
    return seen


def test_the_topology_has_45_main_and_12_skip_edges():
    assert len(EDGES) == 57
    assert sum(edge.kind == "main" for edge in EDGES) == 45
    assert all(edge.source < edge.target for edge in EDGES)
    assert all(edge.target == edge.source + 1 for edge in EDGES if edge.kind == "main")


def test_all_edges_are_active_in_the_teacher():
    assert active_edges(build_graph(TEACHER, SD14)) == list(EDGES)


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(6, seed=7)], ids=lambda arch: arch.key
)
def test_active_edges_are_the_wiring_of_the_real_unet(arch):
    edges = active_edges(build_graph(arch, TINY))
    ours = {(SLOTS[e.source].name, SLOTS[e.target].name, e.kind) for e in edges}
    assert len(ours) == len(edges)
    assert ours == hooked_wiring(arch)


@settings(deadline=None)
@given(st.integers(0, 703_999), st.integers(0, 703_999))
def test_facts_of_a_slot_depend_on_its_own_unit_alone(first, second):
    space = search_space("sd14")
    graphs = [build_graph(space.arch(index), SD14) for index in (first, second)]
    digits = space.digits(np.array([first, second]))
    units = {unit.name: number for number, unit in enumerate(space.units)}
    facts = [
        list(
            zip(
                *(g.states, g.params, g.macs),
                *(g.in_channels, g.out_channels, g.resolutions),
                strict=True,
            )
        )
        for g in graphs
    ]
    for number, slot in enumerate(SLOTS):
        if slot.unit is None or digits[0, units[slot.unit]] == digits[1, units[slot.unit]]:
            assert facts[0][number] == facts[1][number], slot.name


def test_kept_slots_and_ghosts_cost_something_and_removed_slots_nothing():
    for arch in hard_members():
        graph = build_graph(arch, SD14)
        for slot, state, params, macs in zip(
            SLOTS, graph.states, graph.params, graph.macs, strict=True
        ):
            assert (state == "kept") == (slot.name in arch.kept_slots)
            assert (state == "ghost") == (slot.name in arch.ghost_slots)
            assert (params > 0) == (macs > 0) == (state != "removed")


def test_slots_and_the_time_embedding_are_all_of_the_parameters():
    time_embedding = 2_050_560
    for arch in hard_members():
        total = sum(build_graph(arch, SD14).params) + time_embedding
        assert total == count_params(arch, SD14)


def test_resolution_is_the_side_of_what_a_slot_writes():
    graph = build_graph(TEACHER, SD14)
    sides = {
        "conv_in": 64,
        "down.0.sample": 32,
        "down.2.sample": 8,
        "up.0.sample": 16,
        "mid.res.0": 8,
    }
    assert {name: graph.resolutions[NUMBER[name]] for name in sides} == sides
    tiny = build_graph(search_space("sd14").members["bk-tiny"], SD14)
    assert tiny.resolutions[NUMBER["mid.res.0"]] == 16


def test_a_graph_shows_its_blocks_in_words():
    members = search_space("sd14").members
    assert repr(build_graph(members["bk-tiny"], SD14)) == (
        "ArchGraph(conv_in C, down.0 RA--S, down.1 RA--S, down.2 RA---, down.3 --, mid ---, "
        "up.0 ----, up.1 RA--RAS, up.2 RA--RAS, up.3 RA--RA, conv_out C; "
        "321.33 M params, 242.75 G MACs)"
    )
    mixed = repr(build_graph(hard_members()[4], SD14))
    assert "down.0 RaRAS" in mixed
    assert "up.1 RARaRAS" in mixed
