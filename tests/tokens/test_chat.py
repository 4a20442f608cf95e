"""Conversations without tools against prompts written out by hand from FACTS 3.3, and what is changed and reported."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import ChatError
from mistral7b.tokens.chat import parse, render
from mistral7b.tokens.tokenizer import Tokenizer
from tests.tokens.spelling import BOS, CALLS, END_INST, EOS, INST, pieces, spelled
from tests.tokens.test_stream import streamed
from tests.tokens.test_tokenizer import SPELLINGS

Messages = list[dict[str, Any]]


def talk(*said: str) -> Messages:
    """Messages from user and assistant in turn; "system: …" is a system message and takes no turn."""
    messages: Messages = []
    turn = 0
    for text in said:
        if text.startswith("system: "):
            messages.append({"role": "system", "content": text.removeprefix("system: ")})
        else:
            messages.append({"role": ("user", "assistant")[turn % 2], "content": text})
            turn += 1
    return messages


DIALOGUE = talk("Hello", "Hi there!", "How are you?")


def test_the_dialogue_of_facts_in_v1(v1: Tokenizer) -> None:
    rendered = render(v1, DIALOGUE)
    inst, end_inst = [733, 16289, 28793], [733, 28748, 16289, 28793]
    reply, question = [15359, 736, 28808, 2], [1602, 460, 368, 28804]
    assert rendered.ids == [1, *inst, 22557, *end_inst, *reply, *inst, *question, *end_inst]
    assert rendered.notes == []
    assert rendered.prefix_ids == []


def test_the_dialogue_of_facts_in_v2_and_v3(v2: Tokenizer, v3: Tokenizer) -> None:
    for tokenizer in (v2, v3):
        rendered = render(tokenizer, DIALOGUE)
        assert rendered.ids == [1, 3, 23325, 4, 16127, 1504, 29576, 2, 3, 2370, 1228, 1136, 29572, 4]
        assert rendered.notes == []
    assert rendered.prefix_ids == []


def test_the_system_prompt_is_in_the_first_user_message_of_v1(v1: Tokenizer) -> None:
    rendered = render(v1, talk("system: Be brief.", "Hello", "Hi", "Bye"))
    spelling = (BOS, "[INST] Be brief.\n\nHello [/INST]", "Hi", EOS, "[INST] Bye [/INST]")
    assert rendered.ids == spelled(v1, *spelling)
    assert rendered.notes == []


def test_the_system_prompt_is_in_the_last_user_message_of_v2_and_v3(v2: Tokenizer, v3: Tokenizer, small: Tokenizer) -> None:
    for tokenizer in (v2, v3, small):
        rendered = render(tokenizer, talk("system: Be brief.", "Hello", "Hi", "Bye"))
        assert rendered.ids == spelled(tokenizer, BOS, INST, "Hello", END_INST, "Hi", EOS, INST, "Be brief.\n\nBye", END_INST)
        assert rendered.notes == []
    assert pieces(v3, render(v3, talk("Hello")).ids) == "<s>[INST]▁Hello[/INST]"


def test_exactly_one_bos_and_text_never_becomes_a_control_token(every: list[Tokenizer]) -> None:
    for tokenizer in every:
        plain = render(tokenizer, talk("system: x", "x", "x", "x")).ids
        controls = [id for id in plain if tokenizer.is_control(id)]
        assert controls.count(tokenizer.bos_id) == 1
        for spelling in SPELLINGS:
            ids = render(tokenizer, talk(*(said.replace("x", spelling) for said in ("system: x", "x", "x", "x")))).ids
            assert [id for id in ids if tokenizer.is_control(id)] == controls
            assert tokenizer.decode(ids).count(spelling) >= 4


def test_replies_lose_trailing_spaces_in_v3_but_not_in_v1(v1: Tokenizer, v3: Tokenizer) -> None:
    assert render(v3, talk("a", "b  ", "c")).ids == spelled(v3, BOS, INST, "a", END_INST, "b", EOS, INST, "c", END_INST)
    assert render(v1, talk("a", "b  ", "c")).ids == spelled(v1, BOS, "[INST] a [/INST]", "b  ", EOS, "[INST] c [/INST]")


# ── order ──


def test_neighbours_of_one_role_are_joined_and_reported(v3: Tokenizer) -> None:
    messages = [*talk("a", "b"), *talk("c")]
    messages[1:1] = talk("a2")
    messages[3:3] = [{"role": "assistant", "content": "b2"}]
    rendered = render(v3, messages)
    assert rendered.ids == spelled(v3, BOS, INST, "a\n\na2", END_INST, "b\n\nb2", EOS, INST, "c", END_INST)
    assert rendered.notes == ["joined messages 1 and 2, both from the user", "joined messages 3 and 4, both from the assistant"]


def test_system_messages_are_joined_moved_and_reported(v3: Tokenizer) -> None:
    rendered = render(v3, talk("system: one", "a", "b", "system: two", "c"))
    assert rendered.ids == spelled(v3, BOS, INST, "a", END_INST, "b", EOS, INST, "one\n\ntwo\n\nc", END_INST)
    assert rendered.notes == [
        "joined 2 system messages into one system prompt",
        "moved system message 4 to the front of the conversation",
    ]


def test_a_conversation_that_the_assistant_opens(v1: Tokenizer, v3: Tokenizer) -> None:
    messages = talk("unsaid", "Hi", "Hello")[1:]
    assert render(v3, messages).ids == spelled(v3, BOS, INST, END_INST, "Hi", EOS, INST, "Hello", END_INST)
    rendered = render(v1, messages)
    assert rendered.ids == spelled(v1, BOS, "[INST]  [/INST]", "Hi", EOS, "[INST] Hello [/INST]")
    assert rendered.notes == ["added an empty user message before message 1, from the assistant"]


def test_a_system_prompt_alone(v3: Tokenizer) -> None:
    rendered = render(v3, talk("system: Tell a story."))
    assert rendered.ids == spelled(v3, BOS, INST, "Tell a story.\n\n", END_INST)
    assert rendered.notes == ["added an empty user message to hold the system prompt"]


def test_developer_messages_names_and_parts(v3: Tokenizer) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": ""}, {"type": "text", "text": "two"}]
    rendered = render(v3, [{"role": "developer", "content": "S"}, {"role": "user", "name": "Ann", "content": parts}])
    assert rendered.ids == spelled(v3, BOS, INST, "S\n\none\n\ntwo", END_INST)
    assert rendered.notes == [
        "read developer message 1 as a system message",
        "joined the 2 text parts of message 2 with blank lines",
        "left out the name of message 2: the templates have no place for it",
    ]
    assert render(v3, [{"role": "user", "content": parts[:1]}]).notes == []


@given(roles=st.lists(st.sampled_from(["system", "user", "assistant"]), min_size=1, max_size=8))
def test_whatever_the_order_turns_alternate_and_every_word_is_kept_once(v3: Tokenizer, roles: list[str]) -> None:
    messages = [{"role": role, "content": f"word{place}."} for place, role in enumerate(roles)]
    messages.append({"role": "user", "content": "last."})
    rendered = render(v3, messages)
    controls = [id for id in rendered.ids if v3.is_control(id)]
    turns = (len(controls) - 3) // 3  # whole ones, [INST] [/INST] </s>, before the one to be answered
    assert controls == [1, *[3, 4, 2] * turns, 3, 4]
    text = v3.decode(rendered.ids)
    assert all(text.count(f"word{place}.") == 1 for place in range(len(roles)))
    spoken = [message["role"] for message in messages if message["role"] != "system"]
    in_order = "system" not in roles[1:] and spoken == [("user", "assistant")[turn % 2] for turn in range(len(spoken))]
    assert (rendered.notes == []) == in_order


# ── a reply already begun ──


def test_a_prefix_is_continued(v1: Tokenizer, v3: Tokenizer) -> None:
    messages = [*talk("Once?"), {"role": "assistant", "content": "Once upon", "prefix": True}]
    for tokenizer, prompt in ((v1, (BOS, "[INST] Once? [/INST]")), (v3, (BOS, INST, "Once?", END_INST))):
        rendered = render(tokenizer, messages)
        assert rendered.ids == spelled(tokenizer, *prompt, "Once upon")
        assert rendered.prefix_ids == tokenizer.encode("Once upon")
        assert rendered.notes == []
        assert streamed(tokenizer, tokenizer.encode("a time"), rendered.prefix_ids) == " a time"
    assert render(v1, talk("Once?")).prefix_ids == []


def test_a_prefix_loses_its_trailing_space_in_v3(v3: Tokenizer) -> None:
    rendered = render(v3, [*talk("a"), {"role": "assistant", "content": "Once ", "prefix": True}])
    assert rendered.ids == spelled(v3, BOS, INST, "a", END_INST, "Once")
    assert rendered.notes == ["left out the spaces at the end of message 2, as the template does"]


# ── the inverse ──


@given(reply=st.text(min_size=1).map(lambda text: text.replace("\u2581", " ")))
def test_a_reply_parses_to_what_was_rendered(v1: Tokenizer, v3: Tokenizer, reply: str) -> None:
    for tokenizer in (v1, v3):
        prompt = render(tokenizer, talk("a")).ids
        ids = render(tokenizer, talk("a", reply, "b")).ids
        assert ids[: len(prompt)] == prompt
        parsed = parse(tokenizer, ids[len(prompt) :])
        assert parsed.content == (reply if tokenizer is v1 else reply.rstrip(" "))
        assert parsed.tool_calls == []


def test_text_that_spells_tool_calls_is_content(v1: Tokenizer, v3: Tokenizer) -> None:
    text = '[TOOL_CALLS] [{"name": "f", "arguments": {}}]'
    for tokenizer in (v1, v3):
        assert parse(tokenizer, [*tokenizer.encode(text), tokenizer.eos_id]).content == text
    assert parse(v3, [*spelled(v3, CALLS), *v3.encode('[{"name": "f", "arguments": {}}]')]).content == ""


def test_what_follows_eos_is_no_reply(v3: Tokenizer) -> None:
    assert parse(v3, [*v3.encode("Yes."), 2, *v3.encode("No."), 2]).content == "Yes."
    assert parse(v3, []).content == ""


# ── refusals ──


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "there are no messages"),
        (["Hello"], "message 1 must be an object"),
        ([{"content": "a"}], "message 1 has role None"),
        ([{"role": "bot", "content": "a"}], "message 1 has role 'bot'; use system, user, assistant or tool"),
        ([{"role": "user"}], "message 1 from the user has no content"),
        ([{"role": "user", "content": 5}], "content must be text or a list of text parts, not a int"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "a part of type 'image_url'"),
        ([{"role": "user", "content": ["a"]}], "a part of type 'str'"),
        ([{"role": "user", "content": "a", "mood": "good"}], "message 1 has 'mood', which Mistral 7B cannot use"),
        ([{"role": "user", "content": "a", "prefix": True}], "message 1 has 'prefix'"),
        ([{"role": "user", "content": "a\ud800"}], "message 1 holds a lone surrogate"),
        ([{"role": "user", "content": "a", "name": 5}], "name must be a string"),
        (talk("a", ""), "message 2 from the assistant has neither content nor tool_calls"),
        (talk("a", "b"), "the last message is the assistant's"),
        (talk("a", "b", "system: c"), "the last message is the assistant's"),
        ([{"role": "assistant", "content": "a", "prefix": True}], "must start with a user message"),
        ([*talk("a"), {"role": "assistant", "content": "b", "prefix": True}, *talk("c")], "prefix True must be last"),
        ([*talk("a"), {"role": "assistant", "content": "b", "prefix": "yes"}], "prefix must be true or false"),
    ],
)
def test_bad_messages_are_refused_in_one_line(every: list[Tokenizer], messages: Any, says: str) -> None:
    for tokenizer in every:
        with pytest.raises(ChatError, match=says) as caught:
            render(tokenizer, messages)
        assert "\n" not in str(caught.value)


def test_empty_fields_of_an_echoed_reply_pass(v3: Tokenizer) -> None:
    echoed: dict[str, Any] = {
        "role": "assistant",
        "content": "Hi there!",
        "refusal": None,
        "annotations": [],
        "tool_calls": None,
        "audio": None,
    }
    assert render(v3, [DIALOGUE[0], echoed, DIALOGUE[2]]) == render(v3, DIALOGUE)
