"""Recovering: the weights of one architecture, as its label would recover them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.study import read_listing, read_study
from sdsearch_eval.jobs.workspace import find_architecture, open_bench, open_console, open_student
from sdsearch_eval.planning import settle_labels
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.study import RecoverRequest


def recover_architecture(request: RecoverRequest) -> None:
    """Write the recovered weights of an architecture, if they are not there yet."""
    study = read_study(request.study)
    arch = find_architecture(study, request.arch_key)
    if not study.recovered_file(arch.key).exists():
        world = open_world(1)
        study = settle_labels(study, read_listing(study).architectures.values(), world.device)
        console = open_console(world)
        open_student(study, arch, open_bench(study, console, world), console)
