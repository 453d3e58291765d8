"""The pydantic base of everything that is written to a file, configured or sent to a process."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """A value: frozen, strict about its fields, and without NaN or infinity.

    Files say their version as `schema`, which is a method name of `BaseModel`: such a field is
    called `schema_version` here and `schema` in the file, by its alias.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )
