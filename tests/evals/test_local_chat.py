"""A model in process: the same replies alone and together, streamed and whole, and what has no room."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mistral7b import LLM
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import TokenizerError
from mistral7b.evals.chats import Ask
from mistral7b.evals.local_chat import LocalChat
from tests.cli.made import talkative


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM(talkative(tmp_path_factory.mktemp("chats") / "talkative"), max_num_seqs=3)


def ask(text: str, temperature: float = 0.0, seed: int | None = None) -> Ask:
    return Ask([{"role": "user", "content": text}], temperature, 12, seed)


def test_together_as_alone(llm: LLM) -> None:
    chat = LocalChat(llm, "talkative")
    asks = [ask("Hello"), ask("A story", 0.8, 1), ask("A story", 0.8, 2), ask("Hello", 0.8, 1), ask("Hello"), ask("Bye")]
    together = dict(chat.replies(asks))
    assert sorted(together) == list(range(6))
    for number, one in enumerate(asks):
        assert dict(chat.replies([one])) == {0: together[number]}
        params = SamplingParams(temperature=one.temperature, seed=one.seed, max_tokens=12)
        assert llm.chat([dict(m) for m in one.messages], params)[0].outputs[0].text.strip() == together[number].text
        assert "".join(chat.stream(one)).strip() == together[number].text
    assert together[0] == together[4]
    assert together[1] != together[2], "the seed counts"


def test_what_is_greedy_is_computed_once(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = llm.chat
    monkeypatch.setattr(llm, "chat", lambda turns, params: (asked.append(len(turns)), real(turns, params))[1])
    replies = dict(LocalChat(llm, "t").replies([ask("Hello")] * 5 + [ask("Hello", 0.5, 1)] * 2))
    assert len(replies) == 7
    assert asked == [3]


def test_a_conversation_without_room_spoils_no_other(llm: LLM) -> None:
    replies = dict(LocalChat(llm, "t").replies([ask("word " * 600), ask("Hello"), ask("word " * 600, 0.5, 1)]))
    assert replies[1].text
    assert replies[1].trouble is None
    for number in (0, 2):
        assert replies[number].text == ""
        assert "leaves no room for an answer" in str(replies[number].trouble)


def test_choices_bind(llm: LLM) -> None:
    choices = ("not moderated", "fraud", "malware")
    asks = [Ask([{"role": "user", "content": text}], max_tokens=32, choices=choices) for text in ("a", "b", "c d")]
    assert all(reply.text in choices for _, reply in LocalChat(llm, "t").replies(asks))


def test_two_streams_of_one_model_at_once(llm: LLM) -> None:
    chat = LocalChat(llm, "t")
    alone = ["".join(chat.stream(ask(text))) for text in ("Hello", "Bye")]
    first = chat.stream(ask("Hello"))
    said, found = [next(first)], list[str]()
    thread = threading.Thread(target=lambda: found.append("".join(chat.stream(ask("Bye")))))
    thread.start()
    said += first
    thread.join(60)
    assert ["".join(said), *found] == alone
    left = chat.stream(ask("Hello"))
    next(left)
    left.close()
    assert llm.engine.idle, "a reader that leaves leaves nothing running"


def test_it_says_which_model_it_is(llm: LLM, tmp_path: Path) -> None:
    told = LocalChat(llm, "mine").describe()
    assert (told["name"], told["max_model_len"]) == ("mine", 512)
    assert told == LocalChat(llm, "mine").describe()
    dumb = LLM(talkative(tmp_path / "dumb", tokenizer=False))
    with pytest.raises(TokenizerError, match="dumb has none"):
        LocalChat(dumb, "dumb")
