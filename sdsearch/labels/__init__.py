"""What was measured: protocol, labels, failures, their files, and the targets made of them.

It imports `unet`. Start at `label`; `protocol` and `content` name what may change a value.
"""

from sdsearch.labels.choices import (
    Crop,
    MaskConvention,
    MaskGeometry,
    MaskKind,
    Optimizer,
    Precision,
    Scheduler,
    Task,
    Tracker,
)
from sdsearch.labels.columns import (
    FEWEST_TO_EXTRAPOLATE,
    Meaning,
    check_target,
    describe_column,
    label_columns,
)
from sdsearch.labels.content import (
    Content,
    ResolvedProtocol,
    find_difference,
    former_keys,
    is_read_first,
)
from sdsearch.labels.costs import PictureCost, PipelineCost, describe_costs, read_costs
from sdsearch.labels.label import (
    Failure,
    FailureKind,
    Floors,
    Label,
    LabelKey,
    Latency,
    Measurement,
    Series,
)
from sdsearch.labels.protocol import Protocol, Rung
from sdsearch.labels.recovery import (
    BK_SDM,
    LongRecovery,
    RecoveryLosses,
    RecoveryRecipe,
    RecoveryValues,
)
from sdsearch.labels.samplers import SAMPLERS, Sampler
from sdsearch.labels.store import (
    ImportReport,
    LabelStore,
    check_comparable,
    find_sampler_change,
    import_labels,
    read_floors,
    read_label,
    read_label_table,
    read_recovery_values,
    write_label_table,
)
from sdsearch.labels.target import Target
from sdsearch.labels.tuning import TeacherTuning

__all__ = [
    "BK_SDM",
    "FEWEST_TO_EXTRAPOLATE",
    "SAMPLERS",
    "Content",
    "Crop",
    "Failure",
    "FailureKind",
    "Floors",
    "ImportReport",
    "Label",
    "LabelKey",
    "LabelStore",
    "Latency",
    "LongRecovery",
    "MaskConvention",
    "MaskGeometry",
    "MaskKind",
    "Meaning",
    "Measurement",
    "Optimizer",
    "PictureCost",
    "PipelineCost",
    "Precision",
    "Protocol",
    "RecoveryLosses",
    "RecoveryRecipe",
    "RecoveryValues",
    "ResolvedProtocol",
    "Rung",
    "Sampler",
    "Scheduler",
    "Series",
    "Target",
    "Task",
    "TeacherTuning",
    "Tracker",
    "check_comparable",
    "check_target",
    "describe_column",
    "describe_costs",
    "find_difference",
    "find_sampler_change",
    "former_keys",
    "import_labels",
    "is_read_first",
    "label_columns",
    "read_costs",
    "read_floors",
    "read_label",
    "read_label_table",
    "read_recovery_values",
    "write_label_table",
]
