"""The next turn's ids: what was run is never run again, unless the template, or a hand, has moved it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.conversations import Kept, Prompt, answered, prompt
from mistral7b.model.snapshot import KVState
from mistral7b.tokens import chat, guardrail
from mistral7b.tokens.tokenizer import Tokenizer
from tests.conversations.made import TOOL, in_bytes, state

TOKENIZERS = {version: Tokenizer.published(version) for version in ("v1", "v2", "v3")}
V1, V3 = TOKENIZERS["v1"], TOKENIZERS["v3"]
EOS = 2
EVERY = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS.keys())


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def called(id: str, arguments: str = '{"at": "Rome"}') -> dict[str, Any]:
    call = {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


class Talk:
    """A conversation and the model's side of it. Like the engine it leaves a cache of all ids but the last."""

    def __init__(self, tokenizer: Tokenizer, *, window: int | None = None, **options: Any) -> None:
        self.tokenizer, self.window = tokenizer, window
        self.messages: list[dict[str, Any]] = []
        self.tools, self.safe_prompt = options.get("tools"), options.get("safe_prompt", False)
        self.kept = Kept(tools=self.tools, safe_prompt=self.safe_prompt)

    def ask(self, *messages: dict[str, Any]) -> Prompt:
        self.messages += messages
        return prompt(
            self.tokenizer, self.kept, self.messages, self.tools, safe_prompt=self.safe_prompt, window=self.window
        )  # fmt: skip

    def reply(self, asked: Prompt, message: dict[str, Any] | None, ids: Sequence[int], *, ended: bool = True) -> None:
        """`ids` are what the model put out, `message` is what became of it."""
        self.messages += [message] if message else []
        run = (*asked.ids, *ids)
        self.kept = answered(
            self.tokenizer, self.messages, self.tools, safe_prompt=self.safe_prompt, prompt_ids=asked.ids, output_ids=ids,
            ended_by_id=ended, state=state(run[:-1], self.window), window=self.window,
        )  # fmt: skip

    def turn(self, text: str, answer: str) -> Prompt:
        asked = self.ask(user(text))
        self.reply(asked, said(answer), [*in_bytes(self.tokenizer, answer), EOS])
        return asked

    def rendered(self) -> list[int]:
        messages = guardrail.with_safe_prompt(self.messages) if self.safe_prompt else self.messages
        return chat.render(self.tokenizer, messages, self.tools).ids


def goes_on(talk: Talk, asked: Prompt, new: Sequence[int]) -> None:
    """The prompt is what was run, closed by one eos, then `new`; and all of the cache is used."""
    assert talk.kept.ids[-1] == EOS
    assert asked.ids == [*talk.kept.ids, *new]
    assert asked.state is talk.kept.state
    assert asked.state is not None
    assert asked.notes == []


@EVERY
@pytest.mark.parametrize("window", [None, 4])
def test_what_was_run_stays_as_it_was_run(tokenizer: Tokenizer, window: int | None) -> None:
    talk = Talk(tokenizer, window=window)
    first = talk.turn("Hello", "Hi there!")
    assert (first.state, first.notes) == (None, [])
    asked = talk.ask(user("How are you?"))
    last = chat.render(tokenizer, [user("How are you?")]).ids[1:]
    goes_on(talk, asked, last)
    assert asked.ids[: -len(last)] == [*first.ids, *in_bytes(tokenizer, "Hi there!"), EOS]
    assert asked.ids != talk.rendered()
    assert len(asked.ids) - len(asked.state.ids if asked.state else ()) == len(last) + 1, "eos and the new turn"
    talk.reply(asked, said("Well"), [*in_bytes(tokenizer, "Well"), EOS])
    goes_on(talk, talk.ask(user("Good")), chat.render(tokenizer, [user("Good")]).ids[1:])


WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="▁"), min_size=1, max_size=12)


@given(version=st.sampled_from(["v1", "v2", "v3"]), turns=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_a_model_that_spells_as_the_tokenizer_does_changes_no_prompt(version: str, turns: list[tuple[str, str]]) -> None:
    """Then going on and rendering anew are the same ids, whatever the texts."""
    talk = Talk(TOKENIZERS[version])
    for text, answer in turns:
        stripped = answer if version == "v1" else answer.rstrip(" ")
        asked = talk.ask(user(text))
        assert asked.ids == talk.rendered()
        talk.reply(asked, said(answer), [*talk.tokenizer.encode(stripped), EOS])


@EVERY
def test_a_reply_cut_at_its_length_is_closed(tokenizer: Tokenizer) -> None:
    talk = Talk(tokenizer)
    asked = talk.ask(user("Hello"))
    ids = in_bytes(tokenizer, "Once upon")
    talk.reply(asked, said("Once upon"), ids, ended=False)
    assert talk.kept.ids == (*asked.ids, *ids, EOS)
    goes_on(talk, talk.ask(user("and?")), chat.render(tokenizer, [user("and?")]).ids[1:])


def test_another_id_that_ended_the_reply_gives_way_to_eos() -> None:
    talk = Talk(V3)
    asked = talk.ask(user("Hello"))
    talk.reply(asked, said("Hi"), [*in_bytes(V3, "Hi"), 750])
    assert talk.kept.ids == (*asked.ids, *in_bytes(V3, "Hi"), EOS)
    goes_on(talk, talk.ask(user("and?")), chat.render(V3, [user("and?")]).ids[1:])


def test_tokens_computed_but_not_shown_are_cut_off_or_the_cache_is_dropped() -> None:
    for window in (None, 4):
        talk = Talk(V3, window=window)
        asked = talk.ask(user("Hello"))
        shown = in_bytes(V3, "Hi")
        talk.messages.append(said("Hi"))
        talk.kept = answered(
            V3, talk.messages, None, safe_prompt=False, prompt_ids=asked.ids, output_ids=shown, ended_by_id=False,
            state=state((*asked.ids, *shown, *in_bytes(V3, "dden")), window), window=window,
        )  # fmt: skip
        assert talk.kept.computed == (len(asked.ids) + len(shown) if window is None else 0)
        assert talk.ask(user("and?")).ids[: len(talk.kept.ids)] == list(talk.kept.ids)


@pytest.mark.parametrize("window", [None, 4])
def test_a_stop_string_is_not_in_the_next_prompt(window: int | None) -> None:
    """The message lacks what the ids have: rendered anew. Where the cache still has all, it serves as far as they agree."""
    talk = Talk(V3, window=window)
    asked = talk.ask(user("Hello"))
    talk.reply(asked, said("Hi"), in_bytes(V3, "Hi STOP"), ended=False)
    after = talk.ask(user("and?"))
    assert after.ids == talk.rendered()
    assert "does not stand in the conversation as the model wrote it" in after.notes[0]
    if window is None:
        assert after.state is not None
        assert after.state.ids == tuple(asked.ids), "up to the reply, which the tokenizer spells otherwise"
    else:
        assert after.state is None
        assert f"{len(after.ids)} of {len(after.ids)} prompt tokens" in after.notes[0]


@EVERY
def test_a_system_prompt_goes_on_only_where_the_template_leaves_it(tokenizer: Tokenizer) -> None:
    talk = Talk(tokenizer, window=4)
    talk.messages.append({"role": "system", "content": "Be brief."})
    talk.turn("Hello", "Hi")
    asked = talk.ask(user("and?"))
    if tokenizer.version == "v1":
        goes_on(talk, asked, chat.render(tokenizer, [user("and?")]).ids[1:])
    else:
        assert asked.ids == talk.rendered()
        assert asked.state is None
        assert asked.notes == [
            "this model's template moves the system prompt and the tools to the last message: "
            f"{len(asked.ids)} of {len(asked.ids)} prompt tokens are computed again"
        ]


def test_the_same_reply_further_on_is_not_taken_for_the_one_that_was_kept() -> None:
    """v3 moves a system prompt as long as what stands between two equal replies: the ids of both line up, and must not."""
    system = {"role": "system", "content": "Be brief."}
    shift = len(V3.encode("Be brief.\n\nHello")) - len(V3.encode("Hello"))
    between = next(text for n in range(20) if len(V3.encode(text := "so" + " and" * n)) + len(V3.encode("Hi")) + 3 == shift)
    talk = Talk(V3, window=4)
    talk.messages.append(system)
    talk.turn("Hello", "Hi")
    asked = talk.ask(user(between), said("Hi"), user("Hello"))
    assert asked.ids == talk.rendered()
    assert asked.state is None


def test_the_guardrail_is_a_system_prompt() -> None:
    talk = Talk(V1, safe_prompt=True)
    talk.turn("Hello", "Hi")
    goes_on(talk, talk.ask(user("and?")), chat.render(V1, [user("and?")]).ids[1:])


def reply_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return [tokenizer.control_id("[TOOL_CALLS]"), *in_bytes(tokenizer, text), EOS]


def test_results_go_on_behind_the_call_and_the_next_question_does_not() -> None:
    talk = Talk(V3, tools=[TOOL])
    asked = talk.ask(user("weather?"))
    talk.reply(asked, called("abcdefghi"), reply_ids(V3, '[{"name":"weather","arguments":{"at":"Rome"},"id":"abcdefghi"}]'))
    asked = talk.ask({"role": "tool", "tool_call_id": "abcdefghi", "content": "sun"})
    rendered = talk.rendered()
    results = rendered.index(V3.control_id("[TOOL_RESULTS]"))
    goes_on(talk, asked, rendered[results:])
    talk.reply(asked, said("Sunny"), [*in_bytes(V3, "Sunny"), EOS])
    asked = talk.ask(user("and tomorrow?"))
    assert asked.ids == talk.rendered(), "the tools now stand before this question"
    assert "moves the system prompt and the tools" in asked.notes[0]


@pytest.mark.parametrize(
    "written",
    ['[{"name":"weather","arguments":{"at":"Rome"}}]', '[{"name":"weather","arguments":{"at":"Rome"},"id":"7"}]'],
)
def test_an_id_that_was_made_for_a_call_must_be_in_the_prompt(written: str) -> None:
    """v3's results refer to it, and what the model wrote does not have it. v2's template knows no ids."""
    for version, usable in (("v3", False), ("v2", True)):
        tokenizer = TOKENIZERS[version]
        ids = reply_ids(tokenizer, written)
        call = chat.parse(tokenizer, ids).tool_calls[0]
        talk = Talk(tokenizer, window=4, tools=[TOOL])
        talk.reply(talk.ask(user("weather?")), called(call.id), ids)
        asked = talk.ask({"role": "tool", "tool_call_id": call.id, "content": "sun"})
        assert (asked.state is talk.kept.state) == usable
        assert (asked.ids == talk.rendered()) != usable
        if not usable:
            assert V3.decode(asked.ids).count(call.id) == 2


def test_text_beside_calls_cannot_stand_in_a_message() -> None:
    talk = Talk(V3, window=4, tools=[TOOL])
    ids = [*in_bytes(V3, "Let me see."), *reply_ids(V3, '[{"name":"weather","arguments":{"at":"Rome"},"id":"abcdefghi"}]')]
    talk.reply(talk.ask(user("weather?")), called("abcdefghi"), ids)
    asked = talk.ask({"role": "tool", "tool_call_id": "abcdefghi", "content": "sun"})
    assert asked.ids == talk.rendered()
    assert asked.state is None


def test_calls_cut_at_their_length_are_text_and_go_on() -> None:
    talk = Talk(V3)
    ids = reply_ids(V3, '[{"name":"wea')[:-1]
    asked = talk.ask(user("weather?"))
    talk.reply(asked, said('[{"name":"wea'), ids, ended=False)
    goes_on(talk, talk.ask(user("and?")), chat.render(V3, [user("and?")]).ids[1:])


def test_v2_leaves_calls_out_behind_the_next_question() -> None:
    """They were the reply: what was run cannot go on, though the prompt still begins as it did."""
    tokenizer = TOKENIZERS["v2"]
    talk = Talk(tokenizer, window=4)
    talk.tools = talk.kept.tools
    ids = reply_ids(tokenizer, '[{"name":"weather","arguments":{"at":"Rome"}}]')
    talk.reply(talk.ask(user("weather?")), called("abcdefghi"), ids)
    asked = talk.ask({"role": "tool", "tool_call_id": "abcdefghi", "content": "sun"}, said("Sunny"), user("thanks"))
    assert asked.ids == talk.rendered()
    assert asked.state is None


def test_an_empty_reply_leaves_nothing_to_go_on_from() -> None:
    talk = Talk(V3)
    talk.turn("Hello", "Hi")
    talk.reply(talk.ask(user("and?")), None, [EOS])
    assert (talk.kept.ids, talk.kept.state) == ((), None)
    asked = talk.ask(user("well?"))
    assert asked.ids == talk.rendered()
    assert asked.notes == ["joined messages 3 and 4, both from the user"]


@pytest.mark.parametrize("window", [None, 4])
def test_the_same_turn_once_more_is_the_same_prompt(window: int | None) -> None:
    talk = Talk(V3, window=window)
    talk.turn("Hello", "Hi")
    asked = talk.turn("and?", "Well")
    talk.messages.pop()
    again = talk.ask()
    assert again.ids == asked.ids != talk.rendered()
    assert again.notes == []
    assert (again.state.ids if again.state else ()) == (tuple(asked.ids[:-1]) if window is None else ())


def edited(talk: Talk) -> None:
    talk.messages[0] = user("Goodbye")


def tooled(talk: Talk) -> None:
    talk.tools = [TOOL]


def guarded(talk: Talk) -> None:
    talk.safe_prompt = True


def shortened(talk: Talk) -> None:
    del talk.messages[:2]


def doubled(talk: Talk) -> None:
    talk.messages.append(said("and more"))


@pytest.mark.parametrize("change", [edited, tooled, guarded, shortened, doubled])
def test_a_conversation_changed_by_hand_is_rendered_anew(change: Callable[[Talk], None]) -> None:
    talk = Talk(V3, window=4)
    talk.turn("Hello", "Hi")
    talk.turn("and?", "Well")
    change(talk)
    asked = talk.ask(user("So?"))
    assert asked.ids == talk.rendered()
    assert asked.state is None
    assert "what was said before is no longer what it was" in asked.notes[-1]


def test_a_foreign_state_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="only with its own ids"):
        Prompt([1, 2, 3], state((1, 3), None), [], [])
    with pytest.raises(AssertionError, match="left to compute"):
        Prompt([1, 2], state((1, 2), None), [], [])
    wrong: KVState = state((1, 3), None)
    with pytest.raises(AssertionError, match="one of these ids"):
        Kept(messages=[said("Hi")], ids=(1, 2, 3), state=wrong)
    with pytest.raises(AssertionError, match="those of a reply"):
        Kept(messages=[user("Hi")], ids=(1, 2, 3))
