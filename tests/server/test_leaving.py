"""Clients that go away, deadlines, and failures after a stream has begun."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from mistral7b import LLM
from mistral7b.server.state import State
from mistral7b.server.worker import Worker
from tests.server.running import House, serving
from tests.server.sse import events

LONG: dict[str, Any] = {"prompt": [1, 900, 901], "max_tokens": 900, "ignore_eos": True}


def send(port: int, body: dict[str, Any]) -> socket.socket:
    """A request on a socket of its own."""
    data = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(head.encode() + data)
    return client


def until(true: Any) -> None:
    limit = time.monotonic() + 10
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.005)


def steps_until_free(worker: Worker, llm: LLM) -> int:
    """Steps that are taken until every page is back."""

    async def count() -> int:
        begun = await worker.call(lambda: llm.engine.stats.steps)
        while not await worker.call(lambda: llm.engine.idle):
            await asyncio.sleep(0.002)
        assert await worker.call(lambda: llm.engine.pool.n_free == llm.engine.pool.n_pages)
        return await worker.call(lambda: llm.engine.stats.steps) - begun

    return asyncio.run(count())


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_closes_its_socket_frees_its_pages(house: House, llm: LLM, stream: bool) -> None:
    worker = house.state.engine
    client = send(house.port, {**LONG, "stream": stream, "n": 2})
    until(lambda: worker.n_running == 2)
    if stream:
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    client.close()
    assert steps_until_free(worker, llm) < 100  # 900 were asked for: the socket's news take some milliseconds
    assert (worker.n_running, worker.n_waiting) == (0, 0)


def test_a_client_that_leaves_hurts_no_other(house: House) -> None:
    asked = {**LONG, "max_tokens": 30, "seed": 4}
    alone = house.post("/v1/completions", **asked).json()["choices"]
    client = send(house.port, {**LONG, "stream": True})
    until(lambda: house.state.engine.n_running == 1)
    client.close()
    assert house.post("/v1/completions", **asked).json()["choices"] == alone
    until(lambda: house.state.engine.n_running == 0)


def test_a_deadline_is_a_408_that_clients_do_not_repeat(house: House) -> None:
    state = replace(house.state, settings=replace(house.state.settings, request_timeout_s=0.2))
    with serving(state) as hasty:
        began = time.monotonic()
        with openai.OpenAI(base_url=hasty.url + "/v1", api_key="-") as client, pytest.raises(openai.APIStatusError) as told:
            client.completions.create(model="tiny", prompt="a", max_tokens=900, extra_body={"ignore_eos": True})
        assert told.value.status_code == 408
        assert time.monotonic() - began < 3
        streamed = hasty.post("/v1/completions", **LONG, stream=True)
        *_, last = events(streamed.text)
        assert streamed.status_code == 200
        assert last["error"]["code"] == "timeout"


def test_a_failure_after_a_stream_has_begun_is_raised_by_the_client(
    house: House, llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, left = llm.model.hidden, [3]

    def breaking(*args: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise RuntimeError("planted")
        return hidden(*args)

    monkeypatch.setattr(llm.model, "hidden", breaking)
    got: list[str] = []
    with openai.OpenAI(base_url=house.url + "/v1", api_key="-", max_retries=0) as client:
        stream = client.completions.create(model="tiny", prompt="Once upon", max_tokens=20, stream=True)
        with pytest.raises(openai.APIError, match="failed to answer"):
            got.extend(chunk.choices[0].text for chunk in stream)
    assert got
    assert house.post("/v1/completions", prompt="Once upon").status_code == 200


def test_a_full_queue_is_a_429_with_retry_after(house: House, llm: LLM) -> None:
    worker = Worker(llm, max_queue=0)  # never started: what it accepts stays where it is
    state: State = replace(house.state, worker=worker)
    with serving(state) as full:
        waiting = [send(full.port, LONG) for _ in range(4)]
        until(lambda: worker.n_waiting == 4)
        refused = httpx.post(full.url + "/v1/completions", json=LONG)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        worker.draining = True
        assert httpx.post(full.url + "/v1/completions", json=LONG).status_code == 503
        for client in waiting:
            client.close()
