"""JSON schemas: every text a mask allows is valid and compact; what could not be kept is refused by name."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from mistral7b.errors import RequestError
from mistral7b.grammar.grammars import Grammars
from mistral7b.tokens.structured import StructuredOutput
from mistral7b.tokens.tokenizer import Tokenizer
from tests.grammar.schemas import SCHEMAS
from tests.grammar.walks import text_of, walk


class Pairs(dict[str, Any]):
    """An object as it was written: every pair, in order."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        return self._pairs


def test_the_schemas_are_many_and_distinct() -> None:
    assert len({json.dumps(schema) for schema in SCHEMAS}) == len(SCHEMAS) >= 40


@pytest.mark.parametrize("reply", [True, False])
@pytest.mark.parametrize("number", range(len(SCHEMAS)))
def test_a_random_walk_ends_in_valid_compact_json(tiny: Tokenizer, grammars: Grammars, number: int, reply: bool) -> None:
    schema, context = SCHEMAS[number], [] if reply else tiny.encode("Once")
    for seed in range(3):
        ids = walk(grammars.constraint(StructuredOutput("json_schema", schema), reply=reply), tiny, seed)
        assert ids[-1] == tiny.eos_id
        assert len(ids) <= 300
        text = text_of(tiny, ids, context)
        found = json.loads(text)
        jsonschema.validate(found, schema, format_checker=jsonschema.FormatChecker())
        as_written = json.loads(text, object_pairs_hook=Pairs)  # a schema does not forbid a name to come twice
        assert text == json.dumps(as_written, ensure_ascii=False, separators=(",", ":")) or "\\" in text


def test_a_json_object_is_an_object(tiny: Tokenizer, grammars: Grammars) -> None:
    texts = [text_of(tiny, ids) for ids in _walks(tiny, grammars, StructuredOutput("json_object"), 24) if ids[-1] == tiny.eos_id]
    assert len(set(texts)) > 1
    assert all(isinstance(json.loads(text), dict) for text in texts)


def test_an_object_that_lists_its_properties_gets_no_others(tiny: Tokenizer, grammars: Grammars) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}}
    texts = {text_of(tiny, ids) for ids in _walks(tiny, grammars, StructuredOutput("json_schema", schema), 20)}
    assert texts == {"{}", '{"a":true}', '{"a":false}'}


def test_schemas_that_join_stay_open(tiny: Tokenizer, grammars: Grammars) -> None:
    one, two = ({"properties": {name: {"type": "null"}}, "required": [name]} for name in "ab")
    schema = {"type": "object", "allOf": [one, two]}
    constraint = grammars.constraint(StructuredOutput("json_schema", schema))
    for id in tiny.encode('{"a":null,"b":null'):
        constraint.advance(id)
    assert constraint.mask().sum() > 1
    assert not constraint.mask()[tiny.eos_id]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "object", "properties": {"a": {"not": {}}}}, "'not' at #/properties/a"),
    ({"type": "array", "uniqueItems": True}, "'uniqueItems' at #"),
    ({"type": "object", "mandatory": ["a"]}, "'mandatory' at #"),
    ({"x-guidance": {"lenient": True}}, "'x-guidance' at #"),
    ({"$ref": "http://example.org/schema"}, "leads out of the schema"),
    ({"$ref": "#/nowhere"}, "/nowhere"),
    ({"items": [{}]}, "at #/items"),
    ({"anyOf": {}}, "'anyOf' at #"),
    ({"required": [1]}, "'required' at #"),
    ({"type": "string", "pattern": "("}, "unclosed group"),
    ({"type": "string", "pattern": "(?=a)"}, "look-ahead"),
    ({"type": "string", "pattern": "(a{1000}){1000}"}, "8,192"),
    ({"type": "string", "pattern": "a*", "minLength": 1_000_000}, "'minLength' at #"),
    ({"type": "string", "format": "colour"}, "colour"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "Unsatisfiable"),
    ({"oneOf": [{"type": "string"}, {"maxLength": 3}]}, "anyOf"),
    ({"anyOf": [{"$ref": "#"}]}, "no text fits it"),
    ({"enum": ["x" * 70_000]}, "65,536"),
    ({"const": float("nan")}, "plain JSON"),
]


@pytest.mark.parametrize(("schema", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_be_kept_is_refused_by_name(grammars: Grammars, schema: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as raised:
        grammars.constraint(StructuredOutput("json_schema", schema))
    line = str(raised.value)
    assert line.startswith("response_format json_schema: ")
    assert said in line
    assert "\n" not in line
    assert len(line) < 400


def test_a_deep_schema_is_refused(grammars: Grammars) -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(100_000):
        schema = {"items": schema}
    with pytest.raises(RequestError):
        grammars.constraint(StructuredOutput("json_schema", schema))


def _walks(tiny: Tokenizer, grammars: Grammars, spec: StructuredOutput, times: int) -> list[list[int]]:
    return [walk(grammars.constraint(spec), tiny, seed, most=100) for seed in range(times)]
