"""The pydantic base of everything that is written to a file, configured or sent to a process."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from sdsearch.errors import InputError
from sdsearch.files import LARGEST_TEXT, read_json_bytes
from sdsearch.keys import believe, canonical_json, with_seal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_AS_THEY_ARE: Mapping[str, str] = MappingProxyType({})


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

    @classmethod
    def from_options(
        cls, values: Mapping[str, Any], names: Mapping[str, str] = _AS_THEY_ARE
    ) -> Self:
        """The value of what a command line says; `names` are what it calls fields differently.

        Raises:
            InputError: a field cannot have what is said.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else "the request"
            raise InputError(
                f"{names.get(field, field)} is {first['input']!r}, which cannot be: "
                f"{first['msg']}; choose another"
            ) from None


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


class SealedModel(FrozenModel):
    """A value whose file holds a seal, the key of all else in it, by which damage is noticed.

    What has no seal is believed: it was written before there were any, or by hand. `when_damaged`
    says what to do about it where those who read it do not.
    """

    when_damaged: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _check_seal(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        try:
            return believe(data)
        except ValueError as error:
            raise ValueError("; ".join(filter(None, [str(error), cls.when_damaged]))) from None

    @classmethod
    def read(cls, file: Path, what: str, again: str) -> Self | None:
        """The value in a file, or None where there is no file.

        `what` says what the file must hold, `again` by which command it is written again.

        Raises:
            InputError: the file is damaged.
        """
        if not file.is_file():
            return None
        data = read_json_bytes(file, LARGEST_TEXT)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise InputError(
                f"{file} must hold {what}, but: {error.errors()[0]['msg']}; remove the file, then "
                f"run: {again}"
            ) from None

    def to_json(self, indent: int | None = None) -> str:
        """JSON with a seal: a line in canonical form, or indented for people."""
        data = with_seal(self.model_dump(mode="json"))
        return canonical_json(data) if indent is None else json.dumps(data, indent=indent)
