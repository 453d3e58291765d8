"""The pydantic base of everything that is written to a file, configured or sent to a process."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


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


class KeyedModel(FrozenModel):
    """A value whose fields make a content key, which a field that came later leaves as it was.

    `later_fields` are left out of what is written where they have their default, which must say
    what was done before there was a choice.
    """

    later_fields: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _leave_out_defaults_of_later_fields(
        self, dump: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        data: dict[str, Any] = dump(self)
        for name in self.later_fields:
            if getattr(self, name) == type(self).model_fields[name].default:
                data.pop(name, None)
        return data
