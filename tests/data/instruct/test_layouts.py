"""Each layout on records as its publishers write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mistral7b.data.instruct.layouts import read_dialogues, read_services
from mistral7b.data.instruct.shapes import Dialogue, Object, Text
from mistral7b.errors import DataError
from mistral7b.tokens.calls import fits
from mistral7b.tokens.chat import render
from mistral7b.tokens.tokenizer import Tokenizer

FUNCTION = {"name": "weather", "description": "Weather", "parameters": {"type": "object", "properties": {}}}
TOOL = {"type": "function", "function": FUNCTION}


def found(path: Path, *records: Object, services: Any = None) -> list[Any]:
    path = path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return [one.said or one.fault for one in read_dialogues(path, services or {})]


def spoken(dialogue: Dialogue) -> list[tuple[str, str]]:
    """(Role, what is said); calls as name and arguments, one after another."""
    said = []
    for message in dialogue.messages:
        calls = [call["function"] for call in message.get("tool_calls") or []]
        text = " ".join(f"{call['name']}{call['arguments']}" for call in calls) or message["content"]
        said.append((message["role"], text))
    return said


WORDS = "Write a response that appropriately completes the request.\n\n### Instruction:\nAdd\n\n"
ASKED, ANSWERED = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
ALIASES: list[tuple[Object, list[tuple[str, str]]]] = [
    (
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        [("user", "a"), ("assistant", "b")],
    ),
    ({"interactions": [{"role": "user", "text": "a"}], "system_prompt": "s"}, [("system", "s"), ("user", "a")]),
    (
        {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s"},
        [("system", "s"), ("user", "a"), ("assistant", "b")],
    ),
    ({"instruction": "Add", "input": "1 2", "output": "3"}, [("user", "Add\n\n1 2"), ("assistant", "3")]),
    (
        {"instruction": "Sing", "input": "", "output": "la", "system": "s"},
        [("system", "s"), ("user", "Sing"), ("assistant", "la")],
    ),
    ({"instruction": "Add", "instances": [{"input": "1", "output": "2"}]}, [("user", "Add\n\n1"), ("assistant", "2")]),
    ({"prompt": "a", "completion": "b"}, [("user", "a"), ("assistant", "b")]),
    ({"question": "a", "answer": "b"}, [("user", "a"), ("assistant", "b")]),
    (
        {"prompt": f"Below is an instruction that describes a task. {WORDS}### Response:", "answer": "3"},
        [("user", "Add"), ("assistant", "3")],
    ),
    (
        {
            "instruction": "Below is an instruction that describes a task, paired with an input that provides further context. "
            f"{WORDS}### Input:\n1 2\n\n### Response:\n",
            "response": "3",
        },
        [("user", "Add\n\n1 2"), ("assistant", "3")],
    ),
]


@pytest.mark.parametrize(("record", "says"), ALIASES)
def test_layouts_of_plain_talk(tmp_path: Path, record: Object, says: list[tuple[str, str]]) -> None:
    (dialogue,) = found(tmp_path, record)
    assert spoken(dialogue) == says
    assert dialogue.weights == [1] * len(says)
    assert dialogue.tools == []


def test_texts(tmp_path: Path) -> None:
    assert found(tmp_path, {"text": "a", "meta": 1}, {"content": "b"}) == [Text("a"), Text("b")]
    (fault,) = found(tmp_path, {"text": "a", "content": "b"})
    assert "both text and content" in fault


def test_weights_as_mistral_finetune_has_them(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    more = [*talk, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]
    some, last = found(tmp_path, {"messages": more}, {"messages": more[2:] + more[2:], "only_last": True})
    assert some.weights == [1, 0, 1, 1]
    assert last.weights == [1, 0, 1, 1]
    (prompted,) = found(tmp_path, {"prompt": [*talk[:1], {"role": "assistant", "content": "b"}, more[2]], "completion": more[3:]})
    assert prompted.weights == [1, 0, 1, 1]


def test_tools_calls_and_results_of_every_layout(tmp_path: Path) -> None:
    arguments, answer = '{"city": "Rome"}', '{"sky": "clear"}'
    said = [("user", "a"), ("assistant", f"weather{arguments}"), ("tool", answer), ("assistant", "b")]
    call = {"name": "weather", "arguments": arguments}
    listed = {"role": "assistant", "tool_calls": [call]}
    wrapped = {"role": "assistant", "tool_calls": [{"function": call}]}
    older = {"role": "assistant", "function_call": call}
    records: list[Object] = [
        {"messages": [ASKED, listed, {"role": "tool", "name": "weather", "content": answer}, ANSWERED], "services": ["Weather"]},
        {"messages": [ASKED, older, {"role": "function", "content": answer}, ANSWERED], "tools": [TOOL]},
        {"interactions": [ASKED, wrapped, {"role": "tool", "text": answer}, ANSWERED], "available_tools": json.dumps([FUNCTION])},
        {
            "conversations": [
                {"from": "human", "value": "a"},
                {"from": "function_call", "value": json.dumps(call)},
                {"from": "observation", "value": answer},
                {"from": "gpt", "value": "b"},
            ],
            "tools": json.dumps([FUNCTION]),
        },
        {
            "system": f"SYSTEM: You are a helpful assistant with access to the following functions. Use them if required -\n"
            f"{json.dumps(FUNCTION, indent=4)}",
            "chat": f'USER: a\n\n\nASSISTANT: <functioncall> {{"name": "weather", "arguments": \'{arguments}\'}} <|endoftext|>'
            f"\n\n\nFUNCTION RESPONSE: {answer}\n\n\nASSISTANT: b <|endoftext|>\n\n\n",
        },
    ]
    dialogues = found(tmp_path, *records, services={"Weather": [TOOL]})
    v3 = Tokenizer.published("v3")
    prompts = []
    for dialogue in dialogues:
        assert spoken(dialogue) == said
        assert [tool["function"] for tool in dialogue.tools] == [FUNCTION]
        (made,) = dialogue.messages[1]["tool_calls"]
        assert fits(made["id"])
        assert dialogue.messages[2]["tool_call_id"] == made["id"]
        prompts.append(render(v3, dialogue.messages[:3], dialogue.tools).ids)
    assert all(prompt == prompts[0] for prompt in prompts)
    assert found(tmp_path, *records, services={"Weather": [TOOL]}) == dialogues


def test_ids_of_parallel_calls_go_to_their_results(tmp_path: Path) -> None:
    calls = [{"name": "weather", "arguments": {"city": city}} for city in ("Rome", "Rome")] + [{"name": "time", "arguments": {}}]
    results = [{"role": "tool", "name": name, "content": "1"} for name in ("time", "weather", "weather")]
    (dialogue,) = found(
        tmp_path, {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": calls}, *results]}
    )
    ids = [call["id"] for call in dialogue.messages[1]["tool_calls"]]
    assert len(set(ids)) == 3
    assert [message["tool_call_id"] for message in dialogue.messages[2:]] == [ids[2], ids[0], ids[1]]


def node(role: str, text: str, *replies: Object, **more: object) -> dict[str, Any]:
    return {"role": role, "text": text, "replies": list(replies), **more}


def test_of_a_tree_the_best_ranked_path(tmp_path: Path) -> None:
    worse = node("assistant", "worse", rank=1)
    best = node("assistant", "best", node("prompter", "more", node("assistant", "end")), rank=0)
    gone = node("assistant", "gone", rank=0, deleted=True)
    tree = {"message_tree_id": "t", "prompt": node("prompter", "ask", worse, gone, best)}
    (dialogue,) = found(tmp_path, tree)
    assert spoken(dialogue) == [("user", "ask"), ("assistant", "best"), ("user", "more"), ("assistant", "end")]
    unanswered = {"message_tree_id": "t", "prompt": node("prompter", "ask", gone)}
    assert found(tmp_path, unanswered) == ["nobody answered this prompt"]


def test_trees_spread_over_rows(tmp_path: Path) -> None:
    def row(id: str, parent: str | None, role: str, rank: int | None = None) -> Object:
        return {"message_id": id, "parent_id": parent, "text": f"text {id}", "role": role, "rank": rank}

    rows = [row("d", "a", "prompter"), row("a", "r", "assistant", 1), row("r", None, "prompter"), row("b", "r", "assistant", 0)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [*rows, row("x", "lost", "prompter")]))
    one, lost = sorted(read_dialogues(path, {}), key=lambda found: found.place.number)
    assert one.place.number == 3
    assert isinstance(one.said, Dialogue)
    assert spoken(one.said) == [("user", "text r"), ("assistant", "text b")]
    assert (lost.place.number, lost.fault) == (5, "the message it answers, 'lost', is not in this file")


def test_glaive_without_functions_and_with_doubtful_ones(tmp_path: Path) -> None:
    plain = {"system": "SYSTEM: You are helpful.", "chat": "USER: a USER: b\n\n\nASSISTANT: c <|endoftext|>"}
    (dialogue,) = found(tmp_path, plain)
    assert spoken(dialogue) == [("system", "You are helpful."), ("user", "a USER: b"), ("assistant", "c")]
    quoted = {"system": "", "chat": 'USER: a\nASSISTANT: <functioncall> {"name": "f", "arguments": \'{"x": "it\\\'s"}\'}'}
    (dialogue,) = found(tmp_path, quoted)
    assert spoken(dialogue)[1] == ("assistant", 'f{"x": "it\'s"}')
    for record, says in (
        ({"system": "SYSTEM: {", "chat": "USER: a"}, "not JSON"),
        ({"system": "", "chat": "a"}, "chat must be turns"),
        ({"system": "", "chat": "USER: a\nASSISTANT: <functioncall> {x"}, "a function call must be JSON"),
    ):
        (fault,) = found(tmp_path, record)
        assert says in fault


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"conversations": []}, "no conversations"),
        ({"conversations": [{"from": "alien", "value": "a"}]}, "turn 1 is from 'alien'"),
        ({"conversations": [{"from": "human"}]}, "turn 1 must be an object with from and value"),
        ({"conversations": [{"from": "function_call", "value": "x"}]}, "turn 1 must be JSON"),
        ({"messages": [{"role": "user"}], "interactions": [{"role": "user"}]}, "both messages and interactions"),
        ({"messages": [{"role": "user", "content": "a", "text": "b"}]}, "message 1 has both content and text"),
        (
            {"messages": [ASKED], "tools": [TOOL], "available_tools": [TOOL]},
            "both tools and available_tools",
        ),
        ({"messages": [{"role": "system", "content": "a"}], "system_prompt": "b"}, "keep one of them"),
        ({"messages": [{"role": "user", "content": "a", "weight": 1}]}, "only replies of the assistant are learned"),
        ({"messages": [{"role": "user", "content": "a"}], "services": "x"}, "list of names"),
        ({"instruction": "a", "output": ""}, "its answer is empty"),
        ({"instruction": "", "output": "b"}, "its task is empty"),
        ({"instruction": "a", "output": "b", "response": "c"}, "and has output and response"),
        ({"instruction": "a", "instances": 5}, "instances must be a list"),
        ({"instruction": 5, "output": "b"}, "instruction must be text"),
        ({"prompt": [], "completion": "b"}, "its answer must be one"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "of no known layout"),
        ({"message_tree_id": "t", "prompt": "a"}, "a message of a tree must be an object"),
        ({}, "with the keys none"),
    ],
)
def test_faults_of_a_record(tmp_path: Path, record: Object, says: str) -> None:
    (fault,) = found(tmp_path, record)
    assert says in fault


def test_keys_that_nothing_reads_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"instruction": "a", "output": "b", "history": [], "id": 1}\n')
    (one,) = read_dialogues(path, {})
    assert one.unread == ("history", "id")


def test_tools_by_service(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps({"Weather": [FUNCTION]}))
    assert read_services(path) == {"Weather": [TOOL]}
    for raw, says in (("[", "is not JSON"), ("[]", "must be a JSON object"), ('{"a": [5]}', "a tool must be an object")):
        path.write_text(raw)
        with pytest.raises(DataError, match=says):
            read_services(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_services(tmp_path / "none.json")
