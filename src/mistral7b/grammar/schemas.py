"""JSON schemas made ready for llguidance: refused where a keyword would not be kept, closed where they name all properties."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mistral7b.errors import RequestError
from mistral7b.grammar.sizes import MAX_RUN, check_regex

MAX_BYTES = 64 * 1024
MAX_DEPTH = 32

_ONE = {"items", "additionalProperties"}  # hold one schema
_LISTS = {"anyOf", "allOf", "oneOf", "prefixItems"}
_NAMED = {"properties", "patternProperties", "$defs", "definitions"}
_KEPT = {
    "type", "enum", "const", "$ref", "required", "minProperties", "maxProperties", "minItems", "maxItems", "minLength",
    "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
}  # fmt: skip
_SAY_NOTHING = {
    "title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema", "$id",
    "strict",
}  # fmt: skip
_COUNTED = {"minLength", "minItems", "minProperties"}
_BESIDE = {"anyOf", "oneOf", "$ref"}  # what these say of an object joins what stands beside them


def prepare(schema: Mapping[str, Any], *, item_separator: str, key_separator: str) -> dict[str, Any]:
    """A copy of `schema` with which llguidance writes JSON without white space other than in the separators.

    An object that lists its properties and says nothing of others gets no others: that is within what JSON Schema allows,
    and a text that may always have one more property never ends. Schemas joined by allOf, or by anyOf, oneOf and $ref beside
    properties, stay open, since one may allow what the other names. Raises RequestError for a keyword the grammar would not
    keep, naming it and its place, and for what is too large, too deep or no JSON.
    """
    try:
        text = json.dumps(dict(schema), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"the schema is not plain JSON: {error}") from None
    if len(text) > MAX_BYTES:
        raise RequestError(f"the schema has {len(text):,} bytes of JSON; at most {MAX_BYTES:,} are taken")
    copy = json.loads(text)
    inner = list(_walk(copy, "#", 0))
    if not any("allOf" in one or ("properties" in one and _BESIDE & one.keys()) for one in inner):
        for one in inner:
            _close(one)
    separators = {"item_separator": item_separator, "key_separator": key_separator}
    return {**copy, "x-guidance": {"whitespace_flexible": False, **separators}}


def _walk(schema: object, place: str, depth: int) -> list[dict[str, Any]]:
    """Every schema within `schema`, itself included, that is an object; checked on the way."""
    if isinstance(schema, bool):
        return []
    if not isinstance(schema, dict):
        raise RequestError(f"a schema must be an object, true or false, not {schema!r:.40} at {place}")
    if depth > MAX_DEPTH:
        raise RequestError(f"the schema is more than {MAX_DEPTH} levels deep")
    found = [schema]
    for keyword, value in schema.items():
        at = f"{place}/{keyword}"
        if keyword in _ONE:
            found += _walk(value, at, depth + 1)
        elif keyword in _LISTS and isinstance(value, list):
            for number, one in enumerate(value):
                found += _walk(one, f"{at}/{number}", depth + 1)
        elif keyword in _NAMED and isinstance(value, dict):
            for name, one in value.items():
                found += _walk(one, f"{at}/{name}", depth + 1)
        else:
            _check(keyword, value, place)
    return found


def _check(keyword: str, value: object, place: str) -> None:
    if keyword in _LISTS | _NAMED:
        raise RequestError(f"the value of {keyword!r} at {place} is of the wrong type")
    if keyword == "$ref" and not (isinstance(value, str) and value.startswith("#")):
        raise RequestError(f"the $ref {value!r:.80} at {place} leads out of the schema; move what it names into $defs")
    if keyword == "required" and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise RequestError(f"the value of 'required' at {place} must be a list of names")
    if keyword in _COUNTED and isinstance(value, int | float) and value > MAX_RUN:
        raise RequestError(f"{keyword!r} at {place} is {value:,}; at most {MAX_RUN:,} is taken")
    if keyword == "pattern" and isinstance(value, str):
        check_regex(value)
    if keyword == "x-guidance" or not (keyword in _KEPT | _SAY_NOTHING or keyword.startswith("x-")):
        raise RequestError(f"the keyword {keyword!r} at {place} is not supported; leave it out")


def _close(schema: dict[str, Any]) -> None:
    properties = schema.get("properties")
    says_more = {"additionalProperties", "patternProperties", "minProperties"} & schema.keys()
    if properties is not None and not says_more and set(schema.get("required") or ()) <= set(properties):
        schema["additionalProperties"] = False
