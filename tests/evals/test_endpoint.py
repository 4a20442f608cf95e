"""A model behind a URL: what is sent, what is tried again, and one clear line for everything else."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from mistral7b.errors import EndpointError
from mistral7b.evals.chats import Ask, Reply
from mistral7b.evals.endpoint import Endpoint
from tests.evals.scripted import openai_server

HELLO = Ask([{"role": "user", "content": "Hello"}], max_tokens=7)


def one(endpoint: Endpoint, ask: Ask = HELLO) -> Reply:
    ((number, reply),) = endpoint.replies([ask])
    assert number == 0
    return reply


def test_what_is_sent_and_read() -> None:
    with openai_server(lambda body: " Good day. \n") as server:
        endpoint = Endpoint(server.url + "/", "m", key_variable="K", environ={"K": "secret\n"})
        assert one(endpoint) == Reply("Good day.")
        one(endpoint, Ask(HELLO.messages, temperature=0.7, max_tokens=7, seed=5))
    assert server.paths == ["/v1/chat/completions"] * 2
    assert server.headers[0]["authorization"] == "Bearer secret"
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 7}
    assert server.bodies == [{**asked, "temperature": 0.0}, {**asked, "temperature": 0.7, "seed": 5}]


def test_no_key_is_sent_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with openai_server(lambda body: "x") as server:
        one(Endpoint(server.url, "m"))
    assert "authorization" not in server.headers[0]
    with pytest.raises(EndpointError, match="the environment variable NONE holds no API key"):
        Endpoint(server.url, "m", key_variable="NONE", environ={})


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(status: int) -> None:
    answers: list[Any] = [(status, {"error": {"message": "busy"}}, {}), (status, "", {"retry-after": "7"}), "at last"]
    waited: list[float] = []
    with openai_server(lambda body: answers.pop(0)) as server:
        assert one(Endpoint(server.url, "m", wait=waited.append)) == Reply("at last")
    assert waited == [1.0, 7.0]


def test_patience_ends() -> None:
    waited: list[float] = []
    with openai_server(lambda body: (503, {"error": {"message": "still\nloading"}}, {"retry-after": "100000"})) as server:
        with pytest.raises(EndpointError, match="refused m with 503: still loading"):
            one(Endpoint(server.url, "m", tries=3, wait=waited.append))
        assert len(server.bodies) == 3
    assert waited == [60.0, 60.0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {"error": {"message": "bad key"}}, {}), "with 401: bad key; name the variable"),
        ((404, "not here", {}), "with 404: not here; a base URL often ends in /v1"),
        ((400, {"detail": "max_tokens"}, {}), "with 400: .*max_tokens"),
        ((302, "", {"location": "http://127.0.0.1:1/steal"}), "with 302"),
        ((200, "<html>", {}), "gave no chat completion; is it the base URL"),
        ((200, {"choices": []}, {}), "gave no chat completion"),
        ((200, {"choices": [{"message": {"content": 5}}]}, {}), "gave no chat completion"),
    ],
)
def test_what_cannot_be_mended_by_asking_again(answer: Any, said: str) -> None:
    with openai_server(lambda body: answer) as server, pytest.raises(EndpointError, match=said) as raised:
        one(Endpoint(server.url, "m", key_variable="K", environ={"K": "secret"}))
    assert len(server.bodies) == 1
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_question_may_be_without_an_answer() -> None:
    filtered = {"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]}
    with openai_server(lambda body: (200, filtered, {})) as server:
        assert one(Endpoint(server.url, "m")) == Reply("", "the server gave no text (content_filter)")
        server.script = lambda body: (400, {"error": {"code": "context_length_exceeded", "message": "too long"}}, {})
        assert one(Endpoint(server.url, "m")) == Reply("", "longer than the model's context")


def test_several_are_asked_at_once() -> None:
    together = threading.Barrier(3, timeout=30)

    def script(body: dict[str, Any]) -> str:
        return str(body["messages"][0]["content"]).upper()

    with openai_server(script) as server:
        endpoint = Endpoint(server.url, "m", parallel=3)
        post = endpoint._client.post
        endpoint._client.post = lambda *args, **kwargs: (together.wait(), post(*args, **kwargs))[1]  # type: ignore[method-assign]
        asks = [Ask([{"role": "user", "content": word}]) for word in "abcdef"]
        assert sorted((number, reply.text) for number, reply in endpoint.replies(asks)) == list(enumerate("ABCDEF"))


def test_the_first_failure_ends_the_others() -> None:
    """Those that are told to wait wait no more: nothing sleeps a minute behind an error."""

    def script(body: dict[str, Any]) -> Any:
        good = body["messages"][0]["content"] == "busy"
        return (503, {}, {"retry-after": "60"}) if good else (401, {"error": "no"}, {})

    with openai_server(script) as server:
        endpoint = Endpoint(server.url, "m", parallel=2)
        asks = [Ask([{"role": "user", "content": word}]) for word in ("busy", "bad", "busy", "busy")]
        with pytest.raises(EndpointError, match="401"):
            list(endpoint.replies(asks))
        assert endpoint._stop.wait(0)
        for thread in [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]:
            thread.join(20)
            assert not thread.is_alive()


def test_a_server_that_is_not_there() -> None:
    waited: list[float] = []
    with pytest.raises(EndpointError, match=r"http://127.0.0.1:1/v1 cannot be reached \(.*; tries: 3\)"):
        one(Endpoint("http://127.0.0.1:1/v1", "m", tries=3, wait=waited.append))
    assert waited == [1.0, 2.0]
    for url in ("127.0.0.1:8000", "ftp://host/v1", "", "http://", "http://h:port"):
        with pytest.raises(EndpointError, match="is no address of a server"):
            Endpoint(url, "m")


def test_a_check_asks_once() -> None:
    with openai_server(lambda body: "[[1]]") as server:
        endpoint = Endpoint(server.url, "m")
        endpoint.check()
        server.script = lambda body: (503, {"error": {"message": "loading"}}, {})
        with pytest.raises(EndpointError, match="with 503: loading"):
            endpoint.check()
        assert len(server.bodies) == 2


def test_a_stream() -> None:
    with openai_server(lambda body: "one two three") as server:
        endpoint = Endpoint(server.url, "m")
        assert list(filter(None, endpoint.stream(HELLO))) == ["one ", "two ", "three"]
        assert server.bodies[0]["stream"] is True
        for answer, said in (
            ((503, {"error": {"message": "busy"}}, {}), "with 503: busy"),
            ((200, "data: nonsense\n\n", {}), "streams something else"),
            ((200, 'data: {"error": {"message": "out of memory"}}\n\n', {}), "broke off: .*out of memory"),
        ):
            server.script = lambda body, answer=answer: answer  # type: ignore[misc]
            with pytest.raises(EndpointError, match=said):
                list(endpoint.stream(HELLO))
