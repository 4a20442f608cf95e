"""StructuredOutput takes what makes sense and names what does not."""

from __future__ import annotations

from typing import Any

import pytest

from mistral7b.errors import RequestError
from mistral7b.tokens.structured import StructuredOutput


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("json_object", None),
        ("json_schema", {}),
        ("regex", "a*"),
        ("grammar", "start: /a/"),
        ("choice", ["a"]),
        ("choice", ("a", "é")),
    ],
)
def test_what_makes_sense_is_taken(kind: Any, value: Any) -> None:
    assert StructuredOutput(kind, value).value == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("json", None),
        ("json_object", {}),
        ("json_schema", None),
        ("json_schema", True),
        ("json_schema", "{}"),
        ("regex", ""),
        ("regex", None),
        ("regex", "\ud800"),
        ("grammar", ["start"]),
        ("choice", []),
        ("choice", "ab"),
        ("choice", ["a", ""]),
        ("choice", ["a", 1]),
        ("choice", ["\udfff"]),
    ],
)
def test_what_makes_none_is_refused_in_one_line(kind: Any, value: Any) -> None:
    with pytest.raises(RequestError, match=r"^structured output") as raised:
        StructuredOutput(kind, value)
    assert "\n" not in str(raised.value)
