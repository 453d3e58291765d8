"""Recovering: the weights of architectures, as their labels would recover them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.study import read_listing, read_study
from sdsearch.weights import origin_of
from sdsearch_eval.jobs.workspace import find_architecture, open_bench, open_console, open_student
from sdsearch_eval.planning import settle_labels
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.study import RecoverRequest


def recover_architectures(request: RecoverRequest) -> None:
    """Write the recovered weights of some architectures, unless they are there, undamaged."""
    study = read_study(request.study)
    wanted = [find_architecture(study, key) for key in request.arch_keys]
    wanted = [arch for arch in wanted if origin_of(study.recovered_file(arch.key)) is None]
    if not wanted:
        return
    world = open_world(1)
    study = settle_labels(study, read_listing(study).architectures.values(), world.device)
    console = open_console(world)
    bench = open_bench(study, console, world)
    for arch in wanted:
        open_student(study, arch, bench, console)
