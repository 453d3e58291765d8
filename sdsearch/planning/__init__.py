"""What a study will take, and what would be refused later, said before any hour is spent.

It imports `study`, `design`, `space` and `labels`. Start at `plan`.
"""

from sdsearch.planning.values import Machine, Need, Peak, Proposal, StudyPlan

__all__ = ["Machine", "Need", "Peak", "Proposal", "StudyPlan"]
