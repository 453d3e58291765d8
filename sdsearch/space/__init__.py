"""Which architectures there are, by number, and what each of them costs.

It imports `unet`. Start at `space`; `units` are its choices, `budget` limits what it costs.
"""

from sdsearch.space.budget import Budget, Resource, member_resources, say_amount, space_resources
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
from sdsearch.space.lookup import find_member
from sdsearch.space.space import SPACES, SearchSpace, search_space
from sdsearch.space.summary import SpaceSummary, summarize_space
from sdsearch.space.units import Unit

__all__ = [
    "SPACES",
    "Budget",
    "CrossValidation",
    "Dtype",
    "LatencyConditions",
    "LatencySurvey",
    "LatencyTable",
    "Resource",
    "SearchSpace",
    "SpaceSummary",
    "SurveyedMember",
    "Unit",
    "design_survey",
    "find_member",
    "fit_latency_table",
    "member_resources",
    "read_latency_table",
    "read_survey",
    "say_amount",
    "search_space",
    "space_resources",
    "summarize_space",
]
