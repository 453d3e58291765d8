"""Designs as stock pipelines for other people: weights, papers, the hub.

It imports `study`, `weights` and what is below. Start at `pipeline`.
"""

from sdsearch.export.hub import check_repository, plan_push, push
from sdsearch.export.inventory import (
    INVENTORY,
    find_changed,
    list_own_files,
    read_inventory,
    record_files,
)
from sdsearch.export.papers import renew_card
from sdsearch.export.pipeline import at_export, export_pipeline
from sdsearch.export.portable import complete_vocabulary, tensor_name
from sdsearch.export.recovered import find_weights, recover_missing, release_weights
from sdsearch.export.teacher import export_teacher

__all__ = [
    "INVENTORY",
    "at_export",
    "check_repository",
    "complete_vocabulary",
    "export_pipeline",
    "export_teacher",
    "find_changed",
    "find_weights",
    "list_own_files",
    "plan_push",
    "push",
    "read_inventory",
    "record_files",
    "recover_missing",
    "release_weights",
    "renew_card",
    "tensor_name",
]
