"""Which architectures there are, by number, and what each of them costs.

It imports `unet`. Start at `space`; `meter` counts what members cost, `budget` limits it.
"""

from sdsearch.space.budget import RESOURCES, Budget, Resource, say_amount
from sdsearch.space.costs import add_up
from sdsearch.space.latency import (
    CrossValidation,
    Dtype,
    LatencyConditions,
    LatencySurvey,
    LatencyTable,
    SurveyedMember,
    design_survey,
    fit_latency_table,
    read_latency_table,
    read_survey,
)
from sdsearch.space.loaders import LOADERS, Loader, space_loads, why_not_loaded, why_unknown
from sdsearch.space.lookup import find_member
from sdsearch.space.meter import Meter
from sdsearch.space.removals import list_losses, list_removals, spread_errors, with_option
from sdsearch.space.space import SPACES, SearchSpace, search_space
from sdsearch.space.summary import SpaceSummary, summarize_space
from sdsearch.space.units import Unit
from sdsearch.space.weight_file import tensor_shapes

__all__ = [
    "LOADERS",
    "RESOURCES",
    "SPACES",
    "Budget",
    "CrossValidation",
    "Dtype",
    "LatencyConditions",
    "LatencySurvey",
    "LatencyTable",
    "Loader",
    "Meter",
    "Resource",
    "SearchSpace",
    "SpaceSummary",
    "SurveyedMember",
    "Unit",
    "add_up",
    "design_survey",
    "find_member",
    "fit_latency_table",
    "list_losses",
    "list_removals",
    "read_latency_table",
    "read_survey",
    "say_amount",
    "search_space",
    "space_loads",
    "spread_errors",
    "summarize_space",
    "tensor_shapes",
    "why_not_loaded",
    "why_unknown",
    "with_option",
]
