"""How many cases hypothesis tries: the same few in each suite, hundreds of new ones on request."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

QUIRKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "suite",
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=QUIRKS,
)
settings.register_profile(
    "campaign", max_examples=500, deadline=None, database=None, suppress_health_check=QUIRKS
)
settings.load_profile("suite")
