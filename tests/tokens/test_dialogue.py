"""Samples of dialogues: masks written out by hand, and the rule that a reply stands behind the prompt it is served behind."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import ChatError
from mistral7b.tokens.calls import make_id
from mistral7b.tokens.chat import render
from mistral7b.tokens.dialogue import Sample, samples_of
from mistral7b.tokens.tokenizer import Tokenizer
from tests.tokens.spelling import (
    BOS,
    CALLS,
    END_INST,
    END_RESULTS,
    END_TOOLS,
    EOS,
    INST,
    RESULTS,
    TOOLS,
    Control,
    spelled,
)
from tests.tokens.test_chat_tools import WEATHER, WEATHER_JSON, calls, result, user


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def marked(tokenizer: Tokenizer, *parts: Control | str | tuple[Control | str, ...]) -> Sample:
    """A sample written out; what stands in a tuple is trained."""
    ids: list[int] = []
    trained: list[bool] = []
    for part in parts:
        made = spelled(tokenizer, *(part if isinstance(part, tuple) else (part,)))
        ids += made
        trained += [isinstance(part, tuple)] * len(made)
    return Sample(ids, trained)


TWO_TURNS = [user("Hello"), said("Hi there!"), user("How are you?"), said("Fine.")]


def test_replies_and_their_ends_token_by_token(v1: Tokenizer, v3: Tokenizer) -> None:
    (sample,) = samples_of(v3, TWO_TURNS)
    assert sample.ids == [1, 3, 23325, 4, 16127, 1504, 29576, 2, 3, 2370, 1228, 1136, 29572, 4, *v3.encode("Fine."), 2]
    marks = [False] * 4 + [True] * 4 + [False] * 6 + [True] * (len(v3.encode("Fine.")) + 1)
    assert sample.trained == marks
    (sample,) = samples_of(v1, TWO_TURNS)
    assert sample.ids[:14] == [1, 733, 16289, 28793, 22557, 733, 28748, 16289, 28793, 15359, 736, 28808, 2, 733]
    assert sample.trained[:14] == [False] * 9 + [True] * 4 + [False]


def test_a_dialogue_without_tools_or_system_prompt_is_one_sample(v2: Tokenizer, v3: Tokenizer, small: Tokenizer) -> None:
    for tokenizer in (v2, v3, small):
        spelling = (BOS, INST, "Hello", END_INST, ("Hi there!", EOS), INST, "How are you?", END_INST, ("Fine.", EOS))
        assert samples_of(tokenizer, TWO_TURNS) == [marked(tokenizer, *spelling)]


def test_in_v1_the_system_prompt_stands_in_the_first_message(v1: Tokenizer) -> None:
    found = samples_of(v1, [system("Be brief."), *TWO_TURNS])
    first, second = "[INST] Be brief.\n\nHello [/INST]", "[INST] How are you? [/INST]"
    assert found == [marked(v1, BOS, first, ("Hi there!", EOS), second, ("Fine.", EOS))]


def test_later_a_system_prompt_moves_on_so_each_user_message_begins_a_sample(v2: Tokenizer, v3: Tokenizer) -> None:
    for tokenizer in (v2, v3):
        first = marked(tokenizer, BOS, INST, "Be brief.\n\nHello", END_INST, ("Hi there!", EOS))
        asked = (INST, "Be brief.\n\nHow are you?", END_INST)
        second = marked(tokenizer, BOS, INST, "Hello", END_INST, "Hi there!", EOS, *asked, ("Fine.", EOS))
        assert samples_of(tokenizer, [system("Be brief."), *TWO_TURNS]) == [first, second]


TOOL_USE = [
    user("Paris?"),
    calls(("callParis", "weather", '{"city":"Paris"}')),
    result("callParis", '{"sky":"clear"}'),
    said("Clear."),
    user("Thanks"),
    said("Welcome"),
]


def test_tools_in_v3(v3: Tokenizer) -> None:
    call = '[{"name": "weather", "arguments": {"city": "Paris"}, "id": "callParis"}]'
    answer = '{"content": {"sky": "clear"}, "call_id": "callParis"}'
    offered = (TOOLS, WEATHER_JSON, END_TOOLS, INST)
    answered = (RESULTS, answer, END_RESULTS)
    first = marked(v3, BOS, *offered, "Paris?", END_INST, (CALLS, call, EOS), *answered, ("Clear.", EOS))
    history = (BOS, INST, "Paris?", END_INST, CALLS, call, EOS, *answered, "Clear.", EOS)
    assert samples_of(v3, TOOL_USE, [WEATHER]) == [first, marked(v3, *history, *offered, "Thanks", END_INST, ("Welcome", EOS))]
    whole = marked(
        v3,
        BOS,
        INST,
        "Paris?",
        END_INST,
        (CALLS, call, EOS),
        *answered,
        ("Clear.", EOS),
        INST,
        "Thanks",
        END_INST,
        ("Welcome", EOS),
    )
    assert samples_of(v3, TOOL_USE) == [whole]


def test_tools_in_v2(v2: Tokenizer) -> None:
    call, answer = '[{"name": "weather", "arguments": {"city": "Paris"}}]', '[{"name": "weather", "content": {"sky": "clear"}}]'
    offered = (TOOLS, WEATHER_JSON, END_TOOLS, INST)
    answered = (RESULTS, answer, END_RESULTS)
    first = marked(v2, BOS, *offered, "Paris?", END_INST, (CALLS, call, EOS), *answered, ("Clear.", EOS))
    second = marked(v2, BOS, INST, "Paris?", END_INST, "Clear.", EOS, *offered, "Thanks", END_INST, ("Welcome", EOS))
    notes: list[str] = []
    assert samples_of(v2, TOOL_USE, [WEATHER], notes=notes) == [first, second]
    assert notes == [f"left out message {n}: v2 keeps tool calls and results only after the last user message" for n in (2, 3)]


def test_weights_and_what_is_learned_of_prompts(v3: Tokenizer) -> None:
    spelling = (BOS, INST, "Hello", END_INST, "Hi there!", EOS, INST, "How are you?", END_INST, ("Fine.", EOS))
    last_alone = [False, False, False, True]
    assert samples_of(v3, TWO_TURNS, trained=last_alone) == [marked(v3, *spelling)]
    assert samples_of(v3, TWO_TURNS, trained=[False] * 4) == []
    (first,) = samples_of(v3, TWO_TURNS, trained=[True, True, True, False])
    assert first == marked(v3, BOS, INST, "Hello", END_INST, ("Hi there!", EOS))
    (both,) = samples_of(v3, TWO_TURNS, on="all")
    assert both.trained == [False] + [True] * (len(both.ids) - 1)
    _, second = samples_of(v3, [system("Be brief."), *TWO_TURNS], on="all")
    learned = (INST, "Be brief.\n\nHow are you?", END_INST, "Fine.", EOS)
    assert second == marked(v3, BOS, INST, "Hello", END_INST, "Hi there!", EOS, learned)


def test_text_that_spells_a_control_token_stays_text(v3: Tokenizer) -> None:
    (sample,) = samples_of(v3, [user("</s>[INST]"), said("a</s>b")])
    assert sample.ids.count(v3.eos_id) == 1
    assert sample.ids.count(v3.bos_id) == 1
    assert sample.ids.count(v3.control_id("[INST]")) == 1


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([user("a"), said("b"), said("c")], "messages 2 and 3 are both from the assistant; join them"),
        ([user("a"), said("b"), system("s"), said("c")], "messages 2 and 4 are both from the assistant"),
        ([user("a"), said("  ")], "message 2 from the assistant is empty but for spaces"),
        ([user("a"), said("b") | {"prefix": True}], "message 2 is a prefix"),
        ([said("b")], "message 1 from the assistant answers nothing"),
        ([user("a"), calls(("callParis", "no name", "{}"))], "no name"),
        ([user("a"), calls(("callParis", "weather", "{}")), user("b"), said("c")], "number of function calls"),
        ([], "there are no messages"),
        ([user("a"), said("\ud800")], "lone surrogate"),
    ],
)
def test_what_nobody_could_be_served_is_refused(v3: Tokenizer, messages: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ChatError, match=says):
        samples_of(v3, messages)


def test_v1_has_no_tools(v1: Tokenizer) -> None:
    for messages, tools in ((TOOL_USE, None), (TWO_TURNS, [WEATHER]), (TOOL_USE[:2], None)):
        with pytest.raises(ChatError, match="v1 template has no tool"):
            samples_of(v1, messages, tools)


WORDS = st.text(st.sampled_from('ab [INST]</s>\n"é{'), min_size=1, max_size=8).filter(lambda text: text.strip(" "))


@st.composite
def dialogues(draw: st.DrawFn, with_tools: bool) -> list[dict[str, Any]]:
    """Turns as a person, a model and its tools could have them, system messages anywhere but between calls and results."""
    messages: list[dict[str, Any]] = []
    made: set[str] = set()
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 3)) == 0:
            messages.append(system(draw(WORDS)))
        messages += [user(draw(WORDS)) for _ in range(draw(st.integers(1, 2)))]
        while with_tools and draw(st.booleans()):
            # v2 has room for one result a turn; ids that do not fit v3 are replaced alike in both
            ids = [draw(st.sampled_from([make_id(f"{len(made)}", made), f"call {len(made)}"]))]
            made.update(ids)
            messages.append(calls(*((id, "weather", f'{{"city":"{len(made)}"}}') for id in ids)))
            messages += [result(id, draw(st.sampled_from(["", "17", '{"sky":"clear"}', "[x"]))) for id in ids]
        messages.append(said(draw(WORDS)))
    return messages


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
@given(data=st.data())
def test_every_learned_reply_stands_behind_the_prompt_it_is_served_behind(
    version: str, data: st.DataObject, request: pytest.FixtureRequest
) -> None:
    tokenizer: Tokenizer = request.getfixturevalue(version)
    messages = data.draw(dialogues(with_tools=version != "v1"))
    tools = data.draw(st.sampled_from([None, [WEATHER]])) if version != "v1" else None
    trained = data.draw(st.lists(st.booleans(), min_size=len(messages), max_size=len(messages)))
    samples = samples_of(tokenizer, messages, tools, trained=trained)
    learned = [k for k, message in enumerate(messages) if message["role"] == "assistant" and trained[k]]
    found = [(sample.ids[:begin], sample.ids[begin:end]) for sample in samples for begin, end in runs(sample.trained)]
    assert [prompt for prompt, _ in found] == [render(tokenizer, messages[:k], tools).ids for k in learned]
    for k, (_, reply) in zip(learned, found, strict=True):
        assert reply == as_history(tokenizer, messages, k)
    everything = samples_of(tokenizer, messages, tools, trained=trained, on="all")
    assert [sample.ids for sample in everything] == [sample.ids for sample in samples]
    for more, less in zip(everything, samples, strict=True):
        assert all(a >= b for a, b in zip(more.trained, less.trained, strict=True))
        assert not more.trained[0]


def as_history(tokenizer: Tokenizer, messages: list[dict[str, Any]], k: int) -> list[int]:
    """The ids of reply `k` where it stands in a later prompt: before the result of its call, or before one more message."""
    before = [message for message in messages[:k] if message["role"] != "system"]
    after = messages[k + 1] if messages[k].get("tool_calls") else user("x")
    history = render(tokenizer, [*before, messages[k], after]).ids
    if after["role"] == "tool":
        reply = history[len(render(tokenizer, before).ids) :]
        return reply[: reply.index(tokenizer.eos_id) + 1]
    history = history[: 1 - len(render(tokenizer, [after]).ids)]
    if tokenizer.version == "v2":  # it leaves out calls and results before the last user message
        while before[-1]["role"] != "user":
            before.pop()
    return history[len(render(tokenizer, before).ids) :]


def runs(marks: list[bool]) -> list[tuple[int, int]]:
    """(Begin, end) of each run of true marks."""
    edges = [i for i, (a, b) in enumerate(zip([False, *marks], [*marks, False], strict=True)) if a != b]
    return list(zip(edges[::2], edges[1::2], strict=True))
