"""The engine's thread: what it runs, what it ends, and what it leaves behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest
import torch

from mistral7b import LLM, SamplingParams
from mistral7b.completion import Completion
from mistral7b.server.errors import ApiError, Draining, Internal, QueueFull, TimedOut
from mistral7b.server.worker import Event, Ticket, Worker

IDS = [1, 3, 900, 901, 902, 4]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(60):
            return await work

    return asyncio.run(bounded())


def completions(llm: LLM, prompt: list[int] = IDS, **params: Any) -> list[Completion]:
    return llm.prepare(prompt, SamplingParams(**{"max_tokens": 12, "seed": 1, **params}))


async def taken(ticket: Ticket) -> list[Event]:
    return [event async for event in ticket]


def ids(events: list[Event]) -> list[int]:
    """How many come at once depends on what the engine has seen; which ones does not."""
    return [id for event in events for id in event.ids]


async def free(worker: Worker, llm: LLM) -> bool:
    """Whether every page is back, seen between two steps."""
    return await worker.call(lambda: llm.engine.pool.n_free == llm.engine.pool.n_pages and llm.engine.idle)


def test_events_add_up_to_what_generate_returns(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        made = completions(llm, n=3, logprobs=2)
        events = await taken(worker.submit(made, deadline=None))
        expected = await worker.call(lambda: llm.generate(IDS, SamplingParams(max_tokens=12, seed=1, n=3, logprobs=2)))
        for index, output in enumerate(expected[0].outputs):
            mine = [event for event in events if event.index == index]
            assert "".join(event.text for event in mine) == output.text
            assert ids(mine) == output.token_ids
            assert [likely for event in mine for likely in event.logprobs or []] == output.logprobs
            assert [event.finish_reason for event in mine if event.finish_reason] == [output.finish_reason]
        assert len({tuple(output.token_ids) for output in expected[0].outputs}) > 1

    run(work())


def test_answers_do_not_depend_on_the_crowd(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        alone = [await taken(worker.submit(completions(llm, [1, 500 + i]), deadline=None)) for i in range(4)]
        tickets = [worker.submit(completions(llm, [1, 500 + i]), deadline=None) for i in range(4)]
        crowd = await asyncio.gather(*map(taken, tickets))
        assert list(map(ids, crowd)) == list(map(ids, alone))

    run(work())


def test_a_cancelled_ticket_gives_its_pages_back_before_the_next_step(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        ticket = worker.submit(completions(llm, n=2, max_tokens=800, ignore_eos=True), deadline=None)
        await anext(aiter(ticket))
        assert worker.n_running > 0
        steps = await worker.call(lambda: llm.engine.stats.steps)
        ticket.cancel()
        ticket.cancel()
        assert await free(worker, llm)
        assert await worker.call(lambda: llm.engine.stats.steps) - steps <= 2
        assert (worker.n_running, worker.n_waiting) == (0, 0)

    run(work())


def test_a_ticket_can_be_cancelled_before_it_began_and_from_another_thread(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        ticket = worker.submit(completions(llm, max_tokens=800, ignore_eos=True), deadline=None)
        await asyncio.to_thread(ticket.cancel)
        assert await free(worker, llm)

    run(work())


def test_a_deadline_ends_a_request_that_runs(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        late = worker.submit(completions(llm, max_tokens=900, ignore_eos=True), deadline=time.monotonic() + 0.2)
        good = worker.submit(completions(llm), deadline=time.monotonic() + 60)
        with pytest.raises(TimedOut):
            await taken(late)
        assert (await taken(good))[-1].finish_reason in ("stop", "length")
        assert await free(worker, llm)

    run(work())


def test_too_many_are_refused_and_what_was_accepted_is_answered(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        accepted = [worker.submit(completions(llm), deadline=None) for _ in range(8)]  # 4 run, 4 wait
        with pytest.raises(QueueFull) as refused:
            worker.submit(completions(llm), deadline=None)
        assert refused.value.headers["Retry-After"].isdigit()
        answers = await asyncio.gather(*map(taken, accepted))
        assert len({tuple(ids(events)) for events in answers}) == 1
        assert (await taken(worker.submit(completions(llm), deadline=None)))[-1].finish_reason

    run(work())


def test_a_step_that_raises_ends_its_requests_and_no_others(llm: LLM, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, broken = llm.model.hidden, threading.Event()

    def breaking(*args: Any) -> torch.Tensor:
        if not broken.is_set():
            broken.set()
            raise RuntimeError("planted")
        return hidden(*args)

    async def work() -> None:
        expected = await taken(worker.submit(completions(llm), deadline=None))
        monkeypatch.setattr(llm.model, "hidden", breaking)
        four = [one for i in range(4) for one in completions(llm, [1, 700 + i])]  # all that can run at once
        hit, waits = worker.submit(four, deadline=None), worker.submit(completions(llm), deadline=None)
        with pytest.raises(Internal) as told:
            await taken(hit)
        assert "planted" not in told.value.message
        assert ids(await taken(waits)) == ids(expected)
        assert await free(worker, llm)

    run(work())


def test_text_that_cannot_be_made_ends_one_request(llm: LLM, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        bad, good = completions(llm), completions(llm)
        monkeypatch.setattr(bad[0], "advance", lambda: 1 / 0)
        tickets = worker.submit(bad, deadline=None), worker.submit(good, deadline=None)
        with pytest.raises(Internal):
            await taken(tickets[0])
        assert (await taken(tickets[1]))[-1].finish_reason
        assert await free(worker, llm)

    run(work())


def test_numbers_that_are_not_finite_are_an_error_of_that_request(
    llm: LLM, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = llm.model.logits
    monkeypatch.setattr(llm.model, "logits", lambda rows: logits(rows) * float("nan"))

    async def work() -> None:
        with pytest.raises(Internal, match="not finite"):
            await taken(worker.submit(completions(llm), deadline=None))

    run(work())


def test_nobody_reading_an_answer_holds_up_nobody_else(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        unread = worker.submit(completions(llm, max_tokens=30, ignore_eos=True), deadline=None)
        for _ in range(3):
            await taken(worker.submit(completions(llm), deadline=None))
        assert len(ids(await taken(unread))) == 30

    run(work())


def test_draining_refuses_what_is_new_and_finishes_what_is_not(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        ticket = worker.submit(completions(llm), deadline=None)
        worker.draining = True
        with pytest.raises(Draining):
            worker.submit(completions(llm), deadline=None)
        assert (await taken(ticket))[-1].finish_reason

    run(work())


def test_stop_ends_what_runs_with_an_error(llm: LLM, worker: Worker) -> None:
    async def work() -> None:
        ticket = worker.submit(completions(llm, max_tokens=900, ignore_eos=True), deadline=None)
        await anext(aiter(ticket))
        await asyncio.to_thread(worker.stop)
        with pytest.raises(ApiError) as told:
            await taken(ticket)
        assert told.value.status == 503
        with pytest.raises(Draining):
            await worker.call(lambda: None)

    run(work())


def test_calls_return_and_raise_in_the_thread_of_the_engine(worker: Worker) -> None:
    async def work() -> None:
        assert await worker.call(threading.current_thread) is not threading.current_thread()
        with pytest.raises(ZeroDivisionError):
            await worker.call(lambda: 1 // 0)
        assert await worker.call(lambda: 7) == 7

    run(work())
