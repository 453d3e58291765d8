"""The public interface: what `import sdsearch` offers, and what the command line calls.

It imports `stages` and what is below. Start at `study`; `create` makes one.
"""

from sdsearch.api.benchmark import load_benchmark
from sdsearch.api.create import create_study
from sdsearch.api.design import StudyDesign
from sdsearch.api.latency import LatencyReport, tabulate_latency
from sdsearch.api.results import (
    ExportResult,
    FolderResult,
    InitResult,
    PictureResult,
    ReportResult,
    RunResult,
    SampleResult,
    SheetResult,
)
from sdsearch.api.study import Study, load_study
from sdsearch.api.unets import draw_unet, inherit_unet, search_space, unet_cost
from sdsearch.api.verify import FileReport

__all__ = [
    "ExportResult",
    "FileReport",
    "FolderResult",
    "InitResult",
    "LatencyReport",
    "PictureResult",
    "ReportResult",
    "RunResult",
    "SampleResult",
    "SheetResult",
    "Study",
    "StudyDesign",
    "create_study",
    "draw_unet",
    "inherit_unet",
    "load_benchmark",
    "load_study",
    "search_space",
    "tabulate_latency",
    "unet_cost",
]
