"""The verbs of a study, a module each: a stage reads and writes files and skips what is current.

They import `workers`, `export`, `report`, `planning` and what is below. Start at `journey`, which
does all.
"""

from sdsearch.stages.build import build_study, build_within
from sdsearch.stages.compare import compare_pipelines, compare_study
from sdsearch.stages.export import (
    Precision,
    add_int8,
    add_lora,
    add_onnx,
    add_single_file,
    check_additions,
    export_designs,
    push_export,
)
from sdsearch.stages.fit import fit_study
from sdsearch.stages.journey import outline_study, run_study
from sdsearch.stages.label import (
    Executor,
    forget_failed,
    halve_study,
    import_table,
    label_study,
    prepare_study,
    read_statuses,
    recompute_labels,
)
from sdsearch.stages.probe import probe_study
from sdsearch.stages.recover import recover_design
from sdsearch.stages.sample import Choice, propose_architectures, sample_study
from sdsearch.stages.score import score_study
from sdsearch.stages.tune import tune_teacher

__all__ = [
    "Choice",
    "Executor",
    "Precision",
    "add_int8",
    "add_lora",
    "add_onnx",
    "add_single_file",
    "build_study",
    "build_within",
    "check_additions",
    "compare_pipelines",
    "compare_study",
    "export_designs",
    "fit_study",
    "forget_failed",
    "halve_study",
    "import_table",
    "label_study",
    "outline_study",
    "prepare_study",
    "probe_study",
    "propose_architectures",
    "push_export",
    "read_statuses",
    "recompute_labels",
    "recover_design",
    "run_study",
    "sample_study",
    "score_study",
    "tune_teacher",
]
