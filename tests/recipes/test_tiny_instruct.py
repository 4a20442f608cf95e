"""The tasks of recipes/tiny-instruct: nothing held out leaks into training, requests say what to do, the judge knows right."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mistral7b import LLM
from mistral7b.outputs import CompletionOutput
from mistral7b.store.names import resolve
from mistral7b.tokens.calls import ToolCall, fits
from mistral7b.tokens.chat import render
from mistral7b.tokens.tokenizer import Tokenizer
from tests.data.curate.made import stories

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny-instruct"
Line = dict[str, Any]


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict[str, Any]]:
    """The recipe's scripts as modules."""
    sys.path.insert(0, str(RECIPE))
    try:
        yield {name: import_module(name) for name in ("tasks", "judge", "kinds.shapes", "kinds.stories", "kinds.toolbox")}
    finally:
        sys.path.remove(str(RECIPE))
        for name in [name for name in sys.modules if name in {"tasks", "judge", "kinds"} or name.startswith("kinds.")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def training(recipe: dict[str, Any]) -> dict[str, list[Line]]:
    """All that the default seed makes without a corpus, and a tenth of the exercises in copying."""
    tasks = recipe["tasks"]
    counts = {kind: count for kind, count in tasks.COUNTS.items() if kind != "stories"}
    counts["copying"] //= 10
    return {kind: [task.dialogue() for task in tasks.training(kind, 1, count, None)] for kind, count in counts.items()}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(resolve("tiny") / "tokenizer.model.v3")


def held(name: str) -> list[Line]:
    return [json.loads(line) for line in (RECIPE / "held_out" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def offered(lines: list[Line]) -> tuple[set[str], set[str]]:
    """The names of all tools and of all their arguments."""
    functions = [tool["function"] for line in lines for tool in line.get("tools", ())]
    arguments = {name for function in functions for name in function["parameters"]["properties"]}
    return {function["name"] for function in functions}, arguments


def phrase_lists() -> list[Any]:
    modules = [module for name, module in sys.modules.items() if name.startswith("kinds.")]
    lists_in = import_module("kinds.vocabulary").lists_in
    return [one for module in modules for one in lists_in(list(vars(module).values()))]


def test_what_is_to_be_copied_was_said(training: dict[str, list[Line]]) -> None:
    """In the request, or in one before it."""
    for line in training["copying"]:
        said = ""
        for asked, reply in zip(line["messages"][::2], line["messages"][1::2], strict=True):
            said += asked["content"] + "\n"
            if not reply["content"].startswith("{"):
                assert reply["content"] in said
                continue
            for key, value in json.loads(reply["content"]).items():
                assert f"{json.dumps(key)}: {json.dumps(value)}" in asked["content"]


def test_the_files_are_those_of_the_default_seed(recipe: dict[str, Any]) -> None:
    made = recipe["tasks"].held_out(1)
    assert made == {name: held(name) for name in ("requests", "tools")}
    assert (len(made["requests"]), len(made["tools"])) == (200, 100)


def test_no_name_held_out_occurs_in_training(recipe: dict[str, Any], training: dict[str, list[Line]]) -> None:
    (tools, arguments), (known_tools, known_arguments) = offered(held("tools")), offered(training["tools"])
    assert tools & known_tools == set()
    assert arguments & known_arguments == set()
    assert len(known_tools) > 10_000
    toolwords = import_module("kinds.toolwords")
    parts = [part for group in toolwords.GROUPS for part in (group.verbs, group.nouns)]
    parts += [toolwords.MODIFIERS, *(slot.names for slot in toolwords.SLOTS.values())]
    assert {word for part in parts for word in part.held} & {word for part in parts for word in part.train} == set()
    keys = {key for line in training["json"] for key in json.loads(line["messages"][-1]["content"])}
    assert keys & {key for line in held("requests") for key in line.get("keys", ())} == set()


def test_no_phrasing_held_out_occurs_in_training(recipe: dict[str, Any], training: dict[str, list[Line]]) -> None:
    """Of every phrase the longest part that is not filled in, if it is more than a word or two."""
    lists = phrase_lists()
    assert len(lists) > 60
    parts = {max(re.split(r"\{\w+\}", phrase), key=len).strip().lower() for one in lists for phrase in one.held}
    parts = {part for part in parts if len(part.split()) > 2}
    assert len(parts) > 100
    said = {message["content"] for lines in training.values() for line in lines for message in line["messages"]}
    everything = "\n".join(said).lower()
    assert [part for part in parts if part in everything and re.search(rf"\b{re.escape(part)}", everything)] == []
    asked = {line["messages"][-1]["content"] for name in ("requests", "tools") for line in held(name)}
    assert asked & said == set()


def test_every_dialogue_renders_and_is_short(training: dict[str, list[Line]], tokenizer: Tokenizer) -> None:
    for lines in training.values():
        for line in lines[:200]:
            messages = line["messages"]
            for place, message in enumerate(messages):
                if message["role"] == "assistant":
                    prompt = render(tokenizer, messages[:place], line.get("tools"))
                    assert [note for note in prompt.notes if "system" not in note] == []
                    assert len(prompt.ids) < 450
                assert all(fits(call["id"]) for call in message.get("tool_calls", ()))
    assert max(len(render(tokenizer, line["messages"], line["tools"]).ids) for line in held("tools")) <= 380


def test_a_call_is_told_by_its_request(training: dict[str, list[Line]]) -> None:
    """Every argument called is one of the tool's, none that it requires is missing, and the request says every value."""
    lines = [(line, line["messages"][-1]) for line in training["tools"] if line["messages"][-1].get("tool_calls")]
    assert len(lines) > 5000
    for line, reply in lines:
        asked = line["messages"][-2]["content"]
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in line["tools"]}
        assert len(schemas) == len(line["tools"])
        for call in reply["tool_calls"]:
            schema, given = schemas[call["function"]["name"]], json.loads(call["function"]["arguments"])
            assert set(schema.get("required", ())) <= set(given) <= set(schema["properties"])
            for name, value in given.items():
                kind = {"string": str, "integer": int, "boolean": bool}[schema["properties"][name]["type"]]
                assert type(value) is kind
                assert isinstance(value, bool) or str(value) in asked
                assert value in schema["properties"][name].get("enum", [value])


def test_stories_are_asked_for_by_what_is_in_them(recipe: dict[str, Any], tmp_path: Path) -> None:
    told = "Once upon a time, there was a little girl named Lily. {} Lily had a dog. The dog was big. They went to the park. "
    texts = [told.format("She was kind." + " She ran." * number) * 2 + "They were happy." for number in range(5)]
    texts += ["Spot saw. " * 30 + "and then", texts[0], "Once there was a gun. " * 10, *stories(3)]
    path = tmp_path / "stories.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    found = [story for story in recipe["kinds.stories"].read_stories(path) if story.hero]
    assert [story.text for story in found] == texts[:5]
    assert {(story.hero, *story.others, *story.places) for story in found} == {("a girl named Lily", "dog", "park")}
    tasks = [task for task in recipe["tasks"].training("stories", 1, 40, path) if task.form == "story"]
    for task in tasks:
        reply = task.messages[-1]["content"]
        assert all(word in reply and word in task.messages[-2]["content"] for word in task.mentions)


def test_the_same_seed_makes_the_same(recipe: dict[str, Any]) -> None:
    make = [list(recipe["tasks"].training("tools", seed, 20, None)) for seed in (3, 3, 4)]
    assert make[0] == make[1] != make[2]


def test_who_is_held_out_is_split_for_all(recipe: dict[str, Any]) -> None:
    """`owns` gives every combination to one side, and near a tenth to the held-out one."""
    maker = recipe["kinds.shapes"].Maker
    sides = [
        (maker(Random(1), False).owns("sum", a, b), maker(Random(2), True).owns("sum", a, b))
        for a in range(30)
        for b in range(30)
    ]
    assert all(one != other for one, other in sides)
    assert 0.06 < sum(other for _, other in sides) / len(sides) < 0.14


def reply(text: str, *calls: tuple[str, str], reason: str = "stop") -> CompletionOutput:
    made = [ToolCall(f"call{number:05}", name, arguments) for number, (name, arguments) in enumerate(calls)]
    return CompletionOutput(0, text, [], finish_reason=reason, tool_calls=made)


def test_own_answers_are_in_form_and_right(recipe: dict[str, Any]) -> None:
    """The answers of the held-out tasks, given by a model, would be judged right; another's answer would not."""
    judge = recipe["judge"]
    lines = [line for line in held("requests") if line["form"] != "story"]
    for line in lines:
        assert judge.judge_text(reply(line["answer"]), line) == {"ended": True, "form": True, "right": True}, line
        assert not judge.judge_text(reply(line["answer"], reason="length"), line)["form"]
        assert not judge.judge_text(reply("Something\nelse"), line)["form"]
    for line in held("tools"):
        calls = [(call["name"], json.dumps(call["arguments"])) for call in line["calls"]]
        assert judge.judge_calls(reply("", *calls), line) == {"ended": True, "name": True, "right": True}
        assert not judge.judge_calls(reply("", (calls[0][0], '{"other": 1}')), line)["right"]
        assert not judge.judge_calls(reply("Done."), line)["name"]


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("number", "12", True), ("number", "12 apples", False), ("word", "Red.", True), ("word", "m-o-o-n", True),
        ("word", "It is red.", False), ("sentence", "My name is Tom.", True), ("sentence", "my name", False),
        ("json", '{"a": 1}', True), ("json", 'Here: {"a": 1}', False), ("json", '{"a": 1, "b": 2}', False),
        ("story", "Once. There was a cat. " * 8 + "The end.", True), ("story", "Once. There was a cat. " * 8 + "The", False),
        ("words", "", False),
    ],
)  # fmt: skip
def test_forms(recipe: dict[str, Any], form: str, text: str, expected: bool) -> None:
    assert recipe["judge"].FORMS[form](text, {"keys": ["a"]}) is expected


def test_a_model_is_judged(recipe: dict[str, Any]) -> None:
    judge = recipe["judge"]
    told = judge.judge(LLM("tiny"), [held("requests")[0], held("requests")[60], held("tools")[0]])
    rows = judge.report(told)
    assert {name: rows[name]["count"] for name in ("requests", "tools")} == {"requests": 2, "tools": 1}
    assert set(rows["tools"]) == {"count", "ended", "name", "right"}
    assert "user: " in judge.shown(*told[0])
