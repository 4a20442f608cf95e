"""What every object of a request is: strict."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

T = TypeVar("T")
Text = Annotated[str, Field(min_length=1)]
Id = Annotated[int, Field(ge=0, le=2**31 - 1)]


# A list that is wrong is wrong at its first bad item: pydantic would note a million, for minutes and gigabytes.
Listed = Annotated[list[T], Field(fail_fast=True)]


class Strict(BaseModel):
    """An object of a request: a key it does not know is an error, "1" is not 1, true is not 1, and NaN is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _one_stranger(cls, body: Any) -> Any:
        """Of many keys that are not known, only the first is told of, for the same reason."""
        if not isinstance(body, dict):
            return body
        known = {field.alias or name for name, field in cls.model_fields.items()}
        strangers = [key for key in body if key not in known]
        return {key: value for key, value in body.items() if key in known or key == strangers[0]} if strangers[1:] else body
