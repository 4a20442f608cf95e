"""Preference records in the layouts of TRL: two samples with one prompt, their last replies alone learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mistral7b.data.instruct.pairs import Pairs, pair_of
from mistral7b.data.instruct.shapes import Object
from mistral7b.errors import DataError
from mistral7b.tokens.chat import render
from mistral7b.tokens.dialogue import samples_of
from mistral7b.tokens.tokenizer import Tokenizer

V3 = Tokenizer.published("v3")
ASKED = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
GOOD, BAD = {"role": "assistant", "content": "good"}, {"role": "assistant", "content": "bad"}
TOOL = {"name": "f", "parameters": {}}


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD]},
        {"messages": ASKED, "chosen": "good", "rejected": "bad"},
        {"prompt": ASKED, "chosen": GOOD, "rejected": BAD},
        {"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
        {"prompt": ASKED, "chosen": [*ASKED, GOOD], "rejected": [BAD]},
        {"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD], "tools": [TOOL], "score": 1},
    ],
)
def test_every_layout(record: Object) -> None:
    tools = [{"type": "function", "function": TOOL}] if "tools" in record else None
    prompt = render(V3, ASKED, tools).ids
    for sample, reply in zip(pair_of(V3, record), ("good", "bad"), strict=True):
        assert sample.ids == [*prompt, *V3.encode(reply), V3.eos_id]
        assert sample.trained == [False] * len(prompt) + [True] * (len(sample.ids) - len(prompt))


def test_texts() -> None:
    pair = pair_of(V3, {"prompt": "a", "chosen": "good", "rejected": "bad", "system": "s"})
    before = [{"role": "system", "content": "s"}, ASKED[0]]
    assert pair == (samples_of(V3, [*before, GOOD])[0], samples_of(V3, [*before, BAD])[0])


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"chosen": "a", "rejected": "b"}, "there is no prompt"),
        ({"prompt": "a", "chosen": "b"}, "rejected must be a text or a list"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "are the same"),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, "neither content nor tool_calls"),
        ({"prompt": "a", "chosen": [], "rejected": "b"}, "chosen is empty"),
        ({"prompt": 5, "chosen": "b", "rejected": "c"}, "prompt must be a text"),
        ({"prompt": "a", "messages": ASKED, "chosen": "b", "rejected": "c"}, "both prompt and messages"),
        ({"chosen": [*ASKED, GOOD], "rejected": [ASKED[0], BAD]}, "differ before their last replies"),
        ({"prompt": "x", "chosen": [*ASKED, GOOD], "rejected": "b"}, "other messages than the prompt"),
        ({"prompt": "a", "chosen": [*ASKED[:1]], "rejected": "b"}, "chosen must end with a reply"),
        ({"prompt": "a", "chosen": [GOOD, ASKED[0]], "rejected": "b"}, "followed by no reply"),
        ("x", "not an object"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, record: Any, says: str) -> None:
    path = tmp_path / "a.jsonl"
    sound = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path.write_text("".join(json.dumps(one) + "\n" for one in (sound, record)))
    with pytest.raises(DataError, match=says) as error:
        Pairs.read([path], V3, length=64)
    assert str(error.value).startswith(f"{path}, line 2: ")


def test_pairs_that_are_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = [{"prompt": "a", "chosen": "b", "rejected": "c " * 40}, {"prompt": "a", "chosen": "b", "rejected": "c"}]
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    with pytest.raises(DataError, match=r"line 1: \d+ tokens, more than 16; drop"):
        Pairs.read([path], V3, length=16)
    read = Pairs.read([path], V3, length=16, too_long="drop")
    assert (len(read.pairs), read.ends, read.dropped) == (1, (1,), 1)
    with pytest.raises(DataError, match="no pair"):
        Pairs.read([path], V3, length=4, too_long="drop")
