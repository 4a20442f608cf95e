"""One streamed request to an OpenAI-compatible server, and the moments at which its text came."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
from serve_work import Item

OK = "200"
CHAT = "chat/completions"


@dataclass(frozen=True)
class Target:
    """A server. `url` may end in /v1 or not; `api_key` is sent to it alone and shown nowhere."""

    name: str
    url: str
    model: str = ""
    api_key: str | None = field(default=None, repr=False)

    def address(self, path: str) -> str:
        return f"{self.url.rstrip('/').removesuffix('/v1')}/v1/{path}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}


@dataclass(frozen=True)
class Form:
    """How to ask: `endpoint` under /v1/, `usage` whether to ask for token counts, `timeout_s` for a request as a whole."""

    endpoint: str = "completions"
    temperature: float = 0.0
    ignore_eos: bool = False
    usage: bool = True
    timeout_s: float = 600.0

    def body(self, model: str, item: Item) -> dict[str, Any]:
        body: dict[str, Any] = {"model": model, "max_tokens": item.max_tokens, "temperature": self.temperature, "stream": True}
        if self.endpoint == CHAT:
            body["messages"] = [{"role": "user", "content": item.prompt}]
        else:
            body["prompt"] = item.prompt
        if self.usage:
            body["stream_options"] = {"include_usage": True}
        if self.ignore_eos:
            body["ignore_eos"] = True
        return body


@dataclass
class Result:
    """What became of a request that was due at `due`. Moments are seconds of `time.perf_counter`.

    `stamps` are the moments of the chunks that carried text, `end` that of the stream's end. `status` is "200" if the stream
    came to its proper end, another HTTP status, "timeout", "connection", "error in stream" or "broken stream"; `detail`
    says more in one line. Token counts are the server's own, None where it gave none.
    """

    due: float
    end: float = 0.0
    status: str = "broken stream"
    detail: str = ""
    stamps: list[float] = field(default_factory=list)
    prompt_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def ok(self) -> bool:
        return self.status == OK

    @property
    def tokens(self) -> int:
        """Tokens of the answer: by usage, else one a chunk with text."""
        return len(self.stamps) if self.output_tokens is None else self.output_tokens

    @property
    def latency(self) -> float:
        """From due to the end of the stream."""
        return self.end - self.due

    @property
    def first_token(self) -> float | None:
        """From due to the first text; None if there was none."""
        return self.stamps[0] - self.due if self.stamps else None

    @property
    def per_token(self) -> float | None:
        """Time per output token after the first; None where the answer came at one moment."""
        return (self.stamps[-1] - self.stamps[0]) / (self.tokens - 1) if len(self.stamps) > 1 and self.tokens > 1 else None

    @property
    def gaps(self) -> list[float]:
        """Between one chunk with text and the next."""
        return [later - earlier for earlier, later in pairwise(self.stamps)]


async def ask(client: httpx.AsyncClient, target: Target, form: Form, item: Item, due: float) -> Result:
    """Send one request and read its stream to the end. Never raises for what a server or the network does."""
    result = Result(due)
    try:
        async with asyncio.timeout(form.timeout_s):
            await _read(client, target, form, item, result)
    except TimeoutError:
        result.status, result.detail = "timeout", f"no end within {form.timeout_s:g} s"
    except httpx.HTTPError as error:
        result.status, result.detail = "connection", one_line(f"{type(error).__name__}: {error}")
    result.end = time.perf_counter()
    return result


async def _read(client: httpx.AsyncClient, target: Target, form: Form, item: Item, result: Result) -> None:
    body = form.body(target.model, item)
    async with client.stream("POST", target.address(form.endpoint), json=body, headers=target.headers) as response:
        if response.status_code != httpx.codes.OK:
            await response.aread()
            result.status, result.detail = str(response.status_code), one_line(response.text)
            return
        async for line in response.aiter_lines():
            now, data = time.perf_counter(), line.removeprefix("data:").strip()
            if not line.startswith("data:"):
                continue
            if data == "[DONE]":
                result.status = OK
                return
            if not _take(data, now, result):
                return
        result.detail = "the stream ended without [DONE]"


def _take(data: str, now: float, result: Result) -> bool:
    """Note one chunk; False if it ends the stream as a failure."""
    try:
        chunk = json.loads(data)
        if chunk.get("error"):
            result.status, result.detail = "error in stream", one_line(json.dumps(chunk["error"]))
            return False
        if any(_has_text(choice) for choice in chunk.get("choices") or ()):
            result.stamps.append(now)
        if chunk.get("usage"):
            result.prompt_tokens, result.output_tokens = (
                int(chunk["usage"][f"{kind}_tokens"]) for kind in ("prompt", "completion")
            )
    except (ValueError, RecursionError, AttributeError, TypeError, KeyError):
        result.detail = one_line(f"not a chunk: {data}")
        return False
    return True


def _has_text(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or choice
    return bool(delta.get("text") or delta.get("content") or delta.get("tool_calls"))


def one_line(text: str, most: int = 200) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[: most - 3]}..."
