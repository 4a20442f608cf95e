"""StructuredOutput: what a caller asks the form of a text to be, as plain words; the grammar room makes it a constraint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mistral7b.errors import RequestError

Kind = Literal["json_object", "json_schema", "regex", "grammar", "choice"]


@dataclass(frozen=True)
class StructuredOutput:
    """The text will be, from its first character to its last,

    - `json_object`: any JSON object (`value` None),
    - `json_schema`: JSON that fits the schema `value`, a mapping,
    - `regex`: a match of the whole of `value`, in the syntax of Rust's regex crate,
    - `grammar`: a sentence of `value`, in llguidance's Lark syntax or in GBNF,
    - `choice`: one of the strings `value`.

    JSON is compact: "," and ":" with no white space. Raises RequestError for a kind or a value that is none of these.
    """

    kind: Kind
    value: str | Mapping[str, Any] | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise RequestError(f"structured output is one of {', '.join(get_args(Kind))}, not {self.kind!r}")
        if self.kind == "json_object":
            fits, wanted = self.value is None, "no value"
        elif self.kind == "json_schema":
            fits, wanted = isinstance(self.value, Mapping), "a schema that is a JSON object"
        elif self.kind == "choice":
            fits, wanted = _are_choices(self.value), "a list of one or more strings"
        else:
            fits, wanted = isinstance(self.value, str) and _is_text(self.value), "text of at least one character"
        if not fits:
            raise RequestError(f"structured output of kind {self.kind} takes {wanted}")


def _are_choices(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(one, str) and _is_text(one) for one in value)


def _is_text(value: str) -> bool:
    """True for at least one character and no lone surrogate, which no UTF-8 can spell."""
    return bool(value) and not any("\ud800" <= character <= "\udfff" for character in value)
