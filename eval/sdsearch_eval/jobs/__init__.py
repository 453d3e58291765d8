"""The commands of the harness, a function each, which takes one typed request.

They import `planning`, `bench`, `pictures`, `recovery` and what is below. Start at `serve`;
`workspace` has what jobs share.
"""

from sdsearch_eval.jobs.adopt import adopt_labels
from sdsearch_eval.jobs.finetune import finetune_architecture
from sdsearch_eval.jobs.intake import inspect_inputs, resolve_study
from sdsearch_eval.jobs.pictures import add_runtimes, add_thumbnails, draw_grid, inpaint_images
from sdsearch_eval.jobs.plan import write_plan
from sdsearch_eval.jobs.recompute import recompute_labels
from sdsearch_eval.jobs.recover import recover_architectures
from sdsearch_eval.jobs.serve import serve_labels
from sdsearch_eval.jobs.survey import probe_teacher, time_members
from sdsearch_eval.jobs.tune import tune_teacher
from sdsearch_eval.jobs.workspace import only_run, open_bench, open_console

__all__ = [
    "add_runtimes",
    "add_thumbnails",
    "adopt_labels",
    "draw_grid",
    "finetune_architecture",
    "inpaint_images",
    "inspect_inputs",
    "only_run",
    "open_bench",
    "open_console",
    "probe_teacher",
    "recompute_labels",
    "recover_architectures",
    "resolve_study",
    "serve_labels",
    "time_members",
    "tune_teacher",
    "write_plan",
]
