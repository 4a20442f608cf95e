"""Conversation: the messages stay such that a template can hold them."""

from __future__ import annotations

import pytest

from mistral7b.cli.conversation import Conversation
from mistral7b.errors import ChatError
from mistral7b.outputs import CompletionOutput, RequestOutput, Timing
from mistral7b.tokens.calls import ToolCall


def reply(text: str = "", *calls: ToolCall) -> RequestOutput:
    return RequestOutput(None, [1], [CompletionOutput(0, text, [2], "stop", tool_calls=list(calls))], True, Timing(0, 0))


def roles(conversation: Conversation) -> str:
    return "".join(message["role"][0] for message in conversation.messages)


CALLS = (ToolCall("abcdefghi", "f", "{}"), ToolCall("jklmnopqr", "g", "{}"))


def test_an_empty_answer_leaves_no_message() -> None:
    conversation = Conversation(system="s")
    conversation.add("hello")
    conversation.answered(reply(""))
    assert roles(conversation) == "su"


def test_results_answer_the_calls_in_their_order() -> None:
    conversation = Conversation()
    conversation.add("hello")
    assert conversation.pending == []
    conversation.answered(reply("", *CALLS))
    assert [call["id"] for call in conversation.pending] == ["abcdefghi", "jklmnopqr"]
    conversation.add("1")
    assert [call["id"] for call in conversation.pending] == ["jklmnopqr"]
    conversation.add("2")
    assert conversation.pending == []
    assert roles(conversation) == "uatt"
    conversation.answered(reply("done"))
    assert conversation.pending == []
    conversation.add("next")
    assert roles(conversation) == "uattau"


def test_unanswer_takes_back_one_answer() -> None:
    conversation = Conversation(system="s")
    with pytest.raises(ChatError, match="no message to answer"):
        conversation.unanswer()
    conversation.add("hello")
    conversation.unanswer()
    assert roles(conversation) == "su"
    conversation.answered(reply("", *CALLS))
    conversation.add("1")
    conversation.unanswer()
    assert roles(conversation) == "su", "half the results are of no use without the calls"
    conversation.answered(reply("", *CALLS))
    conversation.add("1")
    conversation.add("2")
    conversation.answered(reply("done"))
    conversation.unanswer()
    assert roles(conversation) == "suatt", "the results still stand"


def test_take_back_takes_what_was_typed_and_no_more() -> None:
    conversation = Conversation(system="s")
    conversation.take_back()
    conversation.add("hello")
    conversation.answered(reply("hi"))
    conversation.take_back()
    assert roles(conversation) == "sua"
    conversation.add("more")
    conversation.take_back()
    assert roles(conversation) == "sua"
