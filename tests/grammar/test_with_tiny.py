"""What `tiny`, which has seen hardly any JSON, writes at temperature 1 under a grammar: valid, whole, every time."""

from __future__ import annotations

import json
import random

import jsonschema
import pytest

from mistral7b import LLM, SamplingParams
from mistral7b.grammar.calls import MAX_CALLS
from mistral7b.tokens.chat import render
from mistral7b.tokens.reply import CallReader
from mistral7b.tokens.structured import StructuredOutput
from tests.grammar.schemas import SCHEMAS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM("tiny")


def test_json_fits_its_schema_for_200_pairs_of_schema_and_seed(llm: LLM) -> None:
    """A truncated answer is a failure. Compact: what json.dumps writes with no white space."""
    assert len({json.dumps(schema, sort_keys=True) for schema in SCHEMAS}) >= 40
    schemas = [SCHEMAS[seed % len(SCHEMAS)] for seed in range(200)]
    params = [
        SamplingParams(temperature=1.0, seed=seed, max_tokens=400, structured=StructuredOutput("json_schema", schema))
        for seed, schema in enumerate(schemas)
    ]
    outputs = llm.generate(["Here is the answer as JSON:"] * 200, params)
    for schema, output in zip(schemas, outputs, strict=True):
        (made,) = output.outputs
        assert made.finish_reason == "stop", (schema, made.text)
        value = json.loads(made.text)
        jsonschema.validate(value, schema)
        assert not any(space in made.text for space in (": ", ", ", "\n")) or any(
            space in json.dumps(value, ensure_ascii=False, separators=(",", ":")) for space in (": ", ", ", "\\n")
        )
    assert llm.engine.stats.forced_tokens > 0


def test_forced_calls_are_valid_for_50_pairs_of_tools_and_seed(llm: LLM) -> None:
    assert llm.tokenizer is not None
    chance = random.Random(5)
    objects = [schema for schema in SCHEMAS if schema.get("type") == "object"]
    short = [schema for schema in objects if len(json.dumps(schema)) < 150]
    completions, offers = [], []
    for seed in range(50):
        name, parallel = chance.choice([None, "tool_1"]), chance.random() < 0.3
        tools = [
            {"type": "function", "function": {"name": f"tool_{place}", "parameters": schema}}
            for place, schema in enumerate(chance.sample(short if parallel else objects, 3))
        ]
        ids = render(llm.tokenizer, [{"role": "user", "content": "Do it."}], tools).ids
        completions += llm.prepare(
            ids,
            SamplingParams(temperature=1.0, seed=seed, max_tokens=None),
            constraint=lambda t=tools, n=name, p=parallel: llm.grammars.calls(t, name=n, required=True, parallel=p),  # type: ignore[misc]
            calls_marker=llm.tokenizer.control_id("[TOOL_CALLS]"),
        )
        offers.append((tools, name, parallel))
    llm._run([completions])
    for completion, (tools, name, parallel) in zip(completions, offers, strict=True):
        reader = CallReader("seed")
        reader.push(completion.call_text)
        calls = reader.finish()
        assert completion.finish_reason == "stop"
        assert completion.text == ""
        assert calls
        assert len(calls) <= (MAX_CALLS if parallel else 1)
        parameters = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
        for call in calls:
            assert name in (None, call.name)
            jsonschema.validate(json.loads(call.arguments), parameters[call.name])
