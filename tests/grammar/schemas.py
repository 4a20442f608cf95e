"""Forty-eight bounded schemas: whatever fits one of them is at most a few hundred tokens of compact JSON."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def closed(properties: dict[str, Schema], required: list[str] | None = None) -> Schema:
    """An object with these properties and no others, all of them required unless `required` lists fewer."""
    wanted = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": wanted, "additionalProperties": False}


def listed(items: Schema, most: int, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


LEAVES: dict[str, Schema] = {
    "word": {"type": "string", "maxLength": 12},
    "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "date": {"type": "string", "format": "date"},
    "count": {"type": "integer", "minimum": 0, "maximum": 120},
    "offset": {"type": "integer", "exclusiveMinimum": -50, "exclusiveMaximum": 50},
    "dozens": {"type": "integer", "minimum": 0, "maximum": 144, "multipleOf": 12},
    "colour": {"enum": ["red", "green", "blue", "dark grey"]},
    "level": {"enum": [1, 2.5, "three", None, True]},
    "flag": {"type": "boolean"},
    "nothing": {"type": "null"},
    "fixed": {"const": {"unit": "°C", "scale": [0, 100]}},
    "either": {"anyOf": [{"type": "boolean"}, {"type": "string", "maxLength": 6}, {"type": "null"}]},
}
NUMBER: Schema = {"type": "string", "pattern": "^-?[0-9]{1,3}\\.[0-9]{2}$"}
_NAMES = list(LEAVES)


def _of_one(name: str) -> list[Schema]:
    return [closed({name: LEAVES[name]}), closed({"items": listed(LEAVES[name], 4, 1)})]


def _of_several(start: int) -> Schema:
    """Three neighbours in the list, the second optional, the third within an object of its own."""
    first, second, third = (_NAMES[(start + step) % len(_NAMES)] for step in (0, 3, 7))
    inner = closed({third: LEAVES[third], "again": LEAVES[first]}, [third])
    return closed({first: LEAVES[first], second: LEAVES[second], "inner": inner}, [first, "inner"])


PERSON = closed({"name": LEAVES["word"], "age": LEAVES["count"], "tags": listed(LEAVES["colour"], 3)}, ["name", "age"])
SPECIAL: list[Schema] = [
    PERSON,
    closed({"people": listed(PERSON, 2, 1), "total": LEAVES["count"]}),
    closed({"child": closed({"child": closed({"child": closed({"leaf": LEAVES["flag"]})})})}),
    closed({"pair": {"type": "array", "prefixItems": [LEAVES["flag"], LEAVES["count"]], "items": False, "minItems": 2}}),
    closed({"to": {"$ref": "#/$defs/place"}, "from": {"$ref": "#/$defs/place"}})
    | {"$defs": {"place": closed({"at": LEAVES["code"]})}},
    closed({"kind": {"enum": ["a", "b"]}, "size": {"type": ["integer", "null"], "minimum": 1, "maximum": 9}}),
    {"anyOf": [closed({"cat": LEAVES["flag"]}), closed({"dog": LEAVES["word"]})]},
    closed({"price": NUMBER, "currency": {"enum": ["EUR", "USD"]}}),
    listed(closed({"x": LEAVES["offset"], "y": LEAVES["offset"]}), 3, 1),
    closed({"grid": listed(listed(LEAVES["flag"], 3, 3), 2, 2)}),
    closed({"when": LEAVES["date"], "note": {"type": "string", "minLength": 1, "maxLength": 20}}, ["when"]),
    {
        "type": "object",
        "patternProperties": {"^[a-c]{1,2}$": LEAVES["flag"]},
        "additionalProperties": False,
        "maxProperties": 3,
    },
]
SCHEMAS: list[Schema] = [
    *(schema for name in _NAMES for schema in _of_one(name)),
    *(_of_several(start) for start in range(len(_NAMES))),
    *SPECIAL,
]
