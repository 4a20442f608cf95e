"""/health, /ping, /version and /metrics, from the first moment to the last."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mistral7b import LLM, __version__
from mistral7b.server.metrics import Metrics, Queues
from mistral7b.server.settings import Settings
from mistral7b.server.state import State
from mistral7b.server.worker import Worker
from tests.server.served import Served, served


@pytest.fixture
def state(llm: LLM) -> Iterator[State]:
    """A model that is loaded, watched, and not yet handed to anybody."""
    working = Worker(llm, max_queue=4)
    working.start()
    metrics = Metrics()
    metrics.watch(llm.engine, lambda: Queues(working.n_running, working.n_waiting))
    yield State(Settings(), metrics, worker=working)
    working.stop()


def get(running: Served, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{running.port}{path}", timeout=5)


@contextmanager
def busy(worker: Worker) -> Iterator[None]:
    """While the engine's thread does something long."""
    begun, done = threading.Event(), threading.Event()

    def long() -> None:
        begun.set()
        done.wait(10)

    waiting = threading.Thread(target=lambda: asyncio.run(worker.call(long)))
    waiting.start()
    assert begun.wait(5)
    try:
        yield
    finally:
        done.set()
        waiting.join()


def test_a_life(state: State, llm: LLM) -> None:
    with served(state.settings, state=state) as running:
        for path in ("/health", "/ping"):
            assert (get(running, path).status_code, get(running, path).json()) == (503, {"status": "loading"})
        early = httpx.post(f"http://127.0.0.1:{running.port}/tokenize", json={"prompt": "x"})
        assert (early.status_code, early.json()["error"]["code"]) == (503, "loading")
        assert early.headers["retry-after"]
        state.llm = llm
        for path in ("/health", "/ping"):
            assert (get(running, path).status_code, get(running, path).json()) == (200, {"status": "ok"})
        state.drain.closing = True
        assert (get(running, "/health").status_code, get(running, "/health").json()) == (503, {"status": "draining"})
        assert get(running, "/metrics").status_code == 200
        assert get(running, "/version").status_code == 503


def test_the_version_and_no_banner(state: State) -> None:
    with served(state.settings, state=state) as running:
        answer = get(running, "/version")
        assert answer.json() == {"version": __version__}
        assert "server" not in answer.headers
        assert answer.headers["x-request-id"]


def test_what_is_not_here(state: State) -> None:
    with served(state.settings, state=state) as running:
        answers = [get(running, "/nowhere"), get(running, "/tokenize"), get(running, "/docs")]
    assert [answer.status_code for answer in answers] == [404, 405, 404]
    assert all("\n" not in answer.json()["error"]["message"] for answer in answers)


def test_metrics_count_what_was_done_and_do_not_wait_for_the_engine(state: State, llm: LLM) -> None:
    state.llm = llm
    assert state.worker is not None
    with served(state.settings, state=state) as running:
        url = f"http://127.0.0.1:{running.port}"
        answer = httpx.post(f"{url}/v1/completions", json={"prompt": "Once", "max_tokens": 5, "ignore_eos": True}, timeout=30)
        assert answer.status_code == 200
        with busy(state.worker):
            scraped = get(running, "/metrics")
    samples = [sample for family in text_string_to_metric_families(scraped.text) for sample in family.samples]
    values = {sample.name: sample.value for sample in samples}
    assert scraped.headers["content-type"].startswith("text/plain; version=")
    assert values["mistral7b_pages_total"] == llm.engine.pool.n_pages
    assert values["mistral7b_time_to_first_token_seconds_count"] == 1
    assert values["mistral7b_request_generated_tokens_sum"] == 5
    assert values["mistral7b_queue_time_seconds_count"] == 1
    routes = {
        (sample.labels["route"], sample.labels["status"]) for sample in samples if sample.name == "mistral7b_requests_total"
    }
    assert routes == {("/v1/completions", "200")}


def test_paths_that_are_not_here_are_one_route_to_the_metrics(state: State) -> None:
    with served(state.settings, state=state) as running:
        for number in range(5):
            get(running, f"/{number}")
        routes = {line for line in get(running, "/metrics").text.splitlines() if line.startswith("mistral7b_requests_total{")}
    assert len(routes) == 1


def test_an_engine_that_has_ended_is_told_of(state: State, llm: LLM) -> None:
    state.llm = llm
    with served(state.settings, state=state) as running:
        assert get(running, "/health").status_code == 200
        assert state.worker is not None
        state.worker.stop()
        assert (get(running, "/health").status_code, get(running, "/ping").json()) == (503, {"status": "stopped"})
