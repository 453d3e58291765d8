"""What all labels of a series share, and the way of one architecture to its label.

It imports `recovery`, `sampling`, `metrics`, `data`, `nets` and `models`. Start at
`evaluate_architecture`.
"""

from sdsearch_eval.bench.bench import Bench, prepare_bench
from sdsearch_eval.bench.confirm import confirm_label
from sdsearch_eval.bench.content import decoded_manifest, resolve_protocol
from sdsearch_eval.bench.evaluate import (
    Stopwatch,
    evaluate_architecture,
    fail_label,
    write_recovered,
)
from sdsearch_eval.bench.failures import find_disk_error, name_failure
from sdsearch_eval.bench.floors import write_floors
from sdsearch_eval.bench.kept import (
    has_recovered,
    load_recovered,
    save_recovered,
)
from sdsearch_eval.bench.outliers import find_outliers
from sdsearch_eval.bench.record import describe_sampling
from sdsearch_eval.bench.rows import measure_images, measure_unet, summarize_rows
from sdsearch_eval.bench.shards import Shards

__all__ = [
    "Bench",
    "Shards",
    "Stopwatch",
    "confirm_label",
    "decoded_manifest",
    "describe_sampling",
    "evaluate_architecture",
    "fail_label",
    "find_disk_error",
    "find_outliers",
    "has_recovered",
    "load_recovered",
    "measure_images",
    "measure_unet",
    "name_failure",
    "prepare_bench",
    "resolve_protocol",
    "save_recovered",
    "summarize_rows",
    "write_floors",
    "write_recovered",
]
