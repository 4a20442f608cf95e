"""What every object of a request is: strict."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]
Id = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Strict(BaseModel):
    """An object of a request: a key it does not know is an error, "1" is not 1, true is not 1, and NaN is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)
