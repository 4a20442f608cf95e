"""Conversations by name: what is saved goes on after a restart, bit for bit, and nothing that does not fit is trusted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from mistral7b import LLM
from mistral7b.conversations import Kept, SessionStore
from mistral7b.server.metrics import Metrics
from mistral7b.server.settings import Settings
from mistral7b.server.state import State
from mistral7b.server.worker import Worker
from tests.server.running import House, serving
from tests.server.sse import joined

QUESTIONS = ["Tell me about a dog and a cat.", "What did the dog do next?", "And then the cat?"]


@contextmanager
def restarted(folder: Path | None) -> Iterator[House]:
    """A server in a fresh process's state: another network, another pool, the same folder."""
    llm = LLM("tiny", max_model_len=1024, max_num_seqs=2)
    worker = Worker(llm, max_queue=4)
    worker.start()
    with serving(State(Settings(session_dir=folder), Metrics(), llm=llm, worker=worker)) as running:
        yield running
    worker.stop()
    assert llm.engine.pool.n_free == llm.engine.pool.n_pages


def ask(house: House, messages: list[dict[str, Any]], **more: Any) -> httpx.Response:
    wanted = {"temperature": 0.8, "seed": 1, "max_tokens": 60, "ignore_eos": True}
    return house.post("/v1/chat/completions", messages=messages, **(wanted | more))


def talk(house: House, messages: list[dict[str, Any]], question: str, **more: Any) -> dict[str, Any]:
    messages.append({"role": "user", "content": question})
    answer: dict[str, Any] = ask(house, messages, **more).raise_for_status().json()
    messages.append(answer["choices"][0]["message"])
    return answer


def test_a_restart_changes_nothing_and_computes_only_what_is_new(tmp_path: Path) -> None:
    plain: list[dict[str, Any]] = []
    with restarted(tmp_path) as house:
        whole = [talk(house, plain, question, session_id="one-process") for question in QUESTIONS]
    kept: list[dict[str, Any]] = []
    answers, computed = [], []
    for question in QUESTIONS:
        with restarted(tmp_path) as house:
            answers.append(talk(house, kept, question, session_id="three-processes"))
            assert house.state.llm is not None
            computed.append(house.state.llm.engine.stats.prompt_tokens)
    assert kept == plain
    for one, other in zip(answers, whole, strict=True):
        assert one["usage"]["prompt_tokens"] == other["usage"]["prompt_tokens"]
        assert one["choices"] == other["choices"]
    for answer, tokens in zip(answers, computed, strict=True):
        usage = answer["usage"]
        assert tokens == usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
    assert computed[1] < 25
    assert computed[2] < 25
    sizes = {path.stat().st_size for path in tmp_path.iterdir()}
    assert max(sizes) < 3_000_000, "511 positions of 8 layers, whatever was said"


def test_streamed_and_cut_by_a_stop_string(tmp_path: Path) -> None:
    with restarted(tmp_path) as house:
        messages: list[dict[str, Any]] = []
        whole = talk(house, messages, QUESTIONS[0], session_id="s")["choices"][0]["message"]["content"]
        word = whole.split()[5]
        cut = ask(house, messages[:1], session_id="t", stop=[word]).json()["choices"][0]["message"]["content"]
        streamed = ask(house, messages[:1], session_id="u", stop=[word], stream=True)
        (choice,) = joined(streamed.text)
        assert choice["message"]["content"] == cut
        again = [messages[0], {"role": "assistant", "content": cut}, {"role": "user", "content": "Go on."}]
        named = [ask(house, again, session_id=name).json()["choices"][0]["message"] for name in ("t", "u")]
        assert named == [ask(house, again).json()["choices"][0]["message"]] * 2


def test_what_does_not_fit_is_computed_anew(tmp_path: Path) -> None:
    with restarted(tmp_path) as house:
        messages: list[dict[str, Any]] = []
        talk(house, messages, QUESTIONS[0], session_id="s")
        edited = [messages[0], {"role": "assistant", "content": "No."}, {"role": "user", "content": "Why?"}]
        answer = ask(house, edited, session_id="s").json()
        assert answer["choices"] == ask(house, edited).json()["choices"]
        assert any("computed again" in note for note in answer["notes"])


def test_refusals(tmp_path: Path) -> None:
    with restarted(tmp_path) as house:
        messages: list[dict[str, Any]] = []
        talk(house, messages, "Hello", session_id="mine")
        (path,) = tmp_path.iterdir()
        path.write_bytes(path.read_bytes()[:100])
        broken = ask(house, [*messages, {"role": "user", "content": "x"}], session_id="mine")
        assert broken.status_code == 409
        assert str(tmp_path) not in broken.text
        assert ask(house, messages[:1], session_id="../up").status_code == 400
        twice = ask(house, messages[:1], session_id="n", n=2)
        assert (twice.status_code, twice.json()["error"]["param"]) == (400, "n")
        assert house.state.sessions
        with house.state.sessions[None].hold("busy"):
            busy = ask(house, messages[:1], session_id="busy")
        assert (busy.status_code, busy.json()["error"]["code"]) == (409, "session_busy")
        assert ask(house, messages[:1], session_id="busy", max_tokens=2).status_code == 200
        assert ask(house, [{"role": "user"}], session_id="free").status_code == 400
        assert ask(house, messages[:1], session_id="free", max_tokens=2).status_code == 200, "a refused request lets go"


def test_without_a_folder_there_are_no_sessions() -> None:
    with restarted(None) as house:
        refused = ask(house, [{"role": "user", "content": "x"}], session_id="s")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "session_id")


def test_a_client_that_leaves_lets_go_of_the_name(tmp_path: Path) -> None:
    with restarted(tmp_path) as house:
        body = {"messages": [{"role": "user", "content": "x"}], "session_id": "s", "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{house.url}/v1/chat/completions", json=body, timeout=60) as response:
            next(response.iter_lines())
        for _ in range(200):
            again = ask(house, body["messages"], session_id="s", max_tokens=2)  # type: ignore[arg-type]
            if again.status_code == 200:
                break
        assert json.loads(again.text)["usage"]["completion_tokens"] == 2


def test_an_answer_sent_back_with_a_clients_nulls_is_the_same(tmp_path: Path) -> None:
    with restarted(tmp_path) as house:
        messages: list[dict[str, Any]] = []
        talk(house, messages, QUESTIONS[0], session_id="s")
        messages[-1] |= {"tool_calls": None, "name": None}
        answer = talk(house, messages, QUESTIONS[1], session_id="s")
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] > 60


def test_a_name_is_held_until_its_save_has_ended_whoever_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saving, may_end = threading.Event(), threading.Event()
    save = SessionStore.save

    def slow(store: SessionStore, name: str, kept: Kept) -> None:
        saving.set()
        may_end.wait(10)
        save(store, name, kept)

    with restarted(tmp_path) as house:
        monkeypatch.setattr(SessionStore, "save", slow)
        body = {"messages": [{"role": "user", "content": "x"}], "session_id": "s", "max_tokens": 2}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{house.url}/v1/chat/completions", json=body, timeout=0.5)
        assert saving.wait(10)
        for _ in range(5):
            assert ask(house, body["messages"], session_id="s").status_code == 409  # type: ignore[arg-type]
        may_end.set()
        for _ in range(200):
            if (again := ask(house, body["messages"], session_id="s", max_tokens=2)).status_code == 200:  # type: ignore[arg-type]
                break
        assert again.status_code == 200
