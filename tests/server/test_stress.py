"""Two hundred requests of every kind at once, three times over: right statuses, no page and no memory lost, and each answer
that came is the one the same request gets alone."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from mistral7b import LLM
from mistral7b.server.protocol.chat import ChatRequest
from mistral7b.server.protocol.completions import CompletionRequest
from mistral7b.server.routes import chat, completions
from tests.cli.subprocesses import ENVIRONMENT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

REQUESTS, ROUNDS, AT_ONCE = 200, 3, 48
WARM = 2  # rounds that touch every page of the cache, load every library and fill the drafts' memory of earlier texts
WORDS = [
    *("the", "cat", "saw", "a", "big", "red", "ball", "and", "Lily", "said", "that", "it", "was", "not", "her", "dog", "but"),
    *("Tom", "ran", "home", "to", "play", "with", "his", "kind", "mom"),
]
TOOL = {
    "type": "function",
    "function": {"name": "move", "parameters": {"type": "object", "properties": {
        "to": {"enum": ["left", "right"]}, "steps": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["to", "steps"], "additionalProperties": False}},
}  # fmt: skip
SCHEMA = {
    "type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "old": {"type": "boolean"}},
    "required": ["name", "old"], "additionalProperties": False,
}  # fmt: skip
BAD: list[dict[str, Any]] = [
    {"temperature": "hot"}, {"n": 0}, {"stop": [""]}, {"top_p": 2}, {"unknown": 1}, {"max_tokens": -1}, {"logit_bias": {"x": 1}},
    {"stream_options": {}}, {"seed": 1.5}, {"stop_token_ids": [10**9]}, {"guided_regex": "("},
]  # fmt: skip


def text_of(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words))


def request_of(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    """(how the client behaves, path, body)."""
    shared = "Once upon a time there was a little girl who had a cat. " * chance.choice([0, 0, 3, 12])
    body: dict[str, Any] = {
        "seed": chance.randrange(10**6), "max_tokens": chance.choice([1, 5, 30, 60, 90]), "return_token_ids": True,
        "temperature": chance.choice([0, 0.7, 1, 1.5]),
    }  # fmt: skip
    body |= chance.choice(
        [{}, {}, {"top_p": 0.8}, {"top_k": 20}, {"min_p": 0.1}, {"frequency_penalty": 1, "presence_penalty": 0.5}]
    )
    body |= chance.choice([{}, {}, {"repetition_penalty": 1.2}, {"logit_bias": {"1100": -100, "1200": 3}}, {"n": 3}])
    body |= chance.choice([{}, {}, {"stop": [" the", "."]}, {"ignore_eos": True}, {"min_tokens": 1}])
    prompt = shared + text_of(chance, chance.choice([1, 10, 60, 250]))
    if chance.random() < 0.5:
        path = "/v1/completions"
        body |= {"prompt": prompt} | chance.choice([{}, {"logprobs": 2}, {"echo": True, "logprobs": 1}, {"guided_json": SCHEMA}])
    else:
        path = "/v1/chat/completions"
        body |= {"messages": [{"role": "user", "content": prompt}]}
        body |= chance.choice([
            {}, {"logprobs": True, "top_logprobs": 3}, {"safe_prompt": True},
            {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False}, {"tools": [TOOL]},
        ])  # fmt: skip
    behaviour = chance.choice(["whole", "whole", "stream", "stream", "closes", "vanishes", "bad"])
    if behaviour == "bad":
        body |= chance.choice(BAD)
    return behaviour, path, body


def alone(llm: LLM, path: str, body: dict[str, Any]) -> list[tuple[list[int], str | None]]:
    """(ids, finish reason) of each choice by an engine that runs nothing else, drafts nothing and remembers nothing."""
    if path == "/v1/completions":
        asked = CompletionRequest.model_validate(body)
        made = [one for prompt in asked.prompts for one in completions.prepare(llm, asked, prompt)]
    else:
        made = chat.prepare(llm, ChatRequest.model_validate(body))
    found = []
    for one in made:
        one.request.leader = None
        llm._run([[one]])
        found.append((one.token_ids, one.finish_reason))
    return found


async def send(client: httpx.AsyncClient, chance: random.Random, behaviour: str, path: str, body: dict[str, Any]) -> Any:
    """(status, choices by index as (ids, finish reason)); no status where the client did not wait for one."""
    if behaviour == "vanishes":
        try:
            answer = await client.post(path, json=body, timeout=httpx.Timeout(30, read=chance.uniform(0.01, 1.0)))
        except httpx.ReadTimeout:
            return None, {}
        return answer.status_code, whole(answer)
    if behaviour in ("whole", "bad"):
        answer = await client.post(path, json=body)
        return answer.status_code, whole(answer)
    found: dict[int, tuple[list[int], str | None]] = {}
    left = chance.randrange(12) if behaviour == "closes" else None
    async with client.stream("POST", path, json={**body, "stream": True}) as answer:
        if answer.status_code != 200:
            return answer.status_code, {}
        async for line in answer.aiter_lines():
            if left is not None and (left := left - 1) < 0:
                return None, {}
            for piece in json.loads(line[6:])["choices"] if line.startswith("data: {") else ():
                ids, _ = found.setdefault(piece["index"], ([], None))
                ids += piece.get("token_ids") or []
                found[piece["index"]] = ids, piece["finish_reason"]
    return 200, found


def whole(answer: httpx.Response) -> dict[int, tuple[list[int], str | None]]:
    if answer.status_code != 200:
        assert "\n" not in answer.json()["error"]["message"]
        return {}
    return {choice["index"]: (choice["token_ids"], choice["finish_reason"]) for choice in answer.json()["choices"]}


async def storm(url: str, asked: list[tuple[str, str, dict[str, Any]]], seed: int) -> dict[int, Any]:
    """All of `asked` in a random order, AT_ONCE of them under way."""
    chance = random.Random(seed)
    order = list(range(len(asked)))
    chance.shuffle(order)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(place: int) -> tuple[int, Any]:
        async with gate:
            return place, await send(client, random.Random(seed * 1000 + place), *asked[place])

    async with httpx.AsyncClient(base_url=url, timeout=300, limits=httpx.Limits(max_connections=AT_ONCE)) as client:
        return dict(await asyncio.gather(*(one(place) for place in order)))


@contextmanager
def server(*args: str) -> Iterator[tuple[str, psutil.Process]]:
    command = [sys.executable, "-m", "mistral7b", "serve", "--port", "0", *args]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        url = next(found[1] for line in process.stderr if (found := re.search(r"listening on (http://\S+)", line)))
        log = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        try:
            for _ in range(600):
                if httpx.get(f"{url}/health").status_code == 200:
                    break
                time.sleep(0.1)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()
            assert process.wait(60) == 0
            log.wait(60)


def metric(url: str, name: str) -> float:
    found = re.search(rf"^mistral7b_{name} (\S+)$", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_two_hundred_at_once_three_times_over() -> None:
    chance = random.Random(11)
    asked = [request_of(chance) for _ in range(REQUESTS)]
    llm = LLM("tiny", speculative=False, enable_prefix_caching=False)
    expected = {place: alone(llm, path, body) for place, (how, path, body) in enumerate(asked) if how != "bad"}
    statuses: Counter[str] = Counter()
    memory = []
    with server("--model", "tiny", "--max-num-seqs", "8", "--max-queue", "64") as (url, process):
        for round in range(WARM + ROUNDS):
            answers = asyncio.run(storm(url, asked, round))
            for place, (status, choices) in answers.items():
                how = asked[place][0]
                statuses[f"{how} {status}"] += 1
                assert status in ({400} if how == "bad" else {200, 429, None}), (asked[place], status)
                for index, (ids, reason) in choices.items():
                    ids_alone, reason_alone = expected[place][index]
                    assert ids == ids_alone
                    assert reason == (
                        "tool_calls" if asked[place][2].get("tool_choice") and reason == "tool_calls" else reason_alone
                    )
            for _ in range(100):
                if metric(url, "requests_running") + metric(url, "requests_waiting") == 0:
                    break
                time.sleep(0.1)
            assert metric(url, "pages_free") == metric(url, "pages_total")
            memory.append(process.memory_info().rss)
    print(json.dumps({"statuses": statuses, "resident_bytes": memory}))  # noqa: T201 what the closing of an issue quotes
    assert statuses["whole 200"] > 50
    assert statuses["stream 200"] > 50
    start, *after = memory[WARM - 1 :]
    assert max(after) < start * 1.02
