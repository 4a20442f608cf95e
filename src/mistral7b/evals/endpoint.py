"""A model behind a URL that speaks the OpenAI API: chat completions, whole or streamed, tried again when it is busy."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NoReturn

import httpx

from mistral7b.errors import EndpointError
from mistral7b.evals.chats import Ask, Reply

_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 60.0  # seconds, whatever the server asks for
_TIMES = httpx.Timeout(600.0, connect=10.0)  # a long answer of a slow model comes whole, after minutes


class Endpoint:
    """`model` behind `url`, which is what clients call the base URL ("https://host/v1").

    `key_variable` names the environment variable that holds the API key; without one none is sent, and a key goes nowhere but to
    `url`: redirects are not followed. `parallel` questions are asked at once. What the server is too busy for, and what
    did not reach it, is asked `tries` times in all, after growing pauses or the one the server names (`wait` of so
    many seconds).
    Raises EndpointError for a URL or a variable that is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str | None = None,
        parallel: int = 4,
        tries: int = 6,
        wait: Callable[[float], object] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        if not _is_address(url):
            raise EndpointError(f"{url!r} is no address of a server; give its base URL, such as http://127.0.0.1:8000/v1")
        self.url, self.name = url.rstrip("/").removesuffix("/chat/completions"), model
        self._stop = threading.Event()
        self._parallel, self._tries, self._wait = parallel, tries, wait or self._stop.wait
        headers = {}
        if key_variable is not None:
            if not environ.get(key_variable, "").strip():
                raise EndpointError(f"the environment variable {key_variable} holds no API key; set it, or name another")
            headers["authorization"] = f"Bearer {environ[key_variable].strip()}"
        self._client = httpx.Client(headers=headers, timeout=_TIMES, limits=httpx.Limits(max_connections=max(parallel, 4)))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "url": self.url}

    def replies(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """As Chat says. Raises EndpointError for the first question that is not answered; then the others are given up, and
        the endpoint is of no more use."""
        pool = ThreadPoolExecutor(self._parallel)
        try:
            futures = {pool.submit(self._reply, ask, self._tries): number for number, ask in enumerate(asks)}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            self._stop.set()  # or their threads would try on, and the process could not end
            self._client.close()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def check(self) -> None:
        """Asks for one word, once: a judge that will not answer is better known before hours of work. Raises EndpointError."""
        self._reply(Ask([{"role": "user", "content": "Answer with [[1]] and nothing else."}], max_tokens=8), tries=1)

    def stream(self, ask: Ask) -> Generator[str]:
        """As Chat says; not tried again, since somebody watches. Raises EndpointError."""
        try:
            with self._client.stream("POST", f"{self.url}/chat/completions", json=self._body(ask, stream=True)) as response:
                if response.status_code != 200:
                    response.read()
                    self._refused(response)
                for line in response.iter_lines():
                    data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                    if data == "[DONE]":
                        return
                    if data:
                        yield self._piece(data)
        except httpx.HTTPError as error:
            raise EndpointError(f"{self.url} broke off: {str(error) or type(error).__name__}") from None

    def _reply(self, ask: Ask, tries: int) -> Reply:
        pause = 1.0
        for attempt in range(1, tries + 1):
            asked_for: float | None = None
            try:
                response = self._client.post(f"{self.url}/chat/completions", json=self._body(ask))
            except (httpx.RequestError, RuntimeError) as error:  # RuntimeError: the client was closed
                if attempt == tries or self._stop.is_set():
                    why = f"{str(error) or type(error).__name__}; tries: {attempt}"
                    raise EndpointError(f"{self.url} cannot be reached ({why})") from None
            else:
                if response.status_code == 200:
                    return self._read(response)
                if _code(response) == "context_length_exceeded":
                    return Reply("", "longer than the model's context")
                if response.status_code not in _BUSY or attempt == tries:
                    self._refused(response)
                asked_for = _seconds(response.headers.get("retry-after"))
            self._wait(min(_LONGEST_WAIT, pause if asked_for is None else asked_for))
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _body(self, ask: Ask, *, stream: bool = False) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [dict(message) for message in ask.messages],
            "temperature": ask.temperature,
            "max_tokens": ask.max_tokens,
        }
        if ask.seed is not None and ask.temperature > 0:
            body["seed"] = ask.seed
        return body | ({"stream": True} if stream else {})

    def _read(self, response: httpx.Response) -> Reply:
        try:
            choice = response.json()["choices"][0]
            content = choice["message"]["content"]
        except (ValueError, LookupError, TypeError):
            content = choice = None
        if content is None and isinstance(choice, dict):
            return Reply("", f"the server gave no text ({choice.get('finish_reason')})")
        if not isinstance(content, str):
            raise EndpointError(f"{self.url} gave no chat completion; is it the base URL of an OpenAI-compatible server?")
        return Reply(content.strip())

    def _piece(self, data: str) -> str:
        try:
            event = json.loads(data)
            if "error" in event:
                raise EndpointError(f"{self.url} broke off: {_one_line(json.dumps(event['error']))}")
            return event["choices"][0]["delta"].get("content") or "" if event["choices"] else ""
        except (ValueError, LookupError, TypeError, AttributeError):
            raise EndpointError(f"{self.url} streams something else than chat completions") from None

    def _refused(self, response: httpx.Response) -> NoReturn:
        hint = {
            401: "; name the variable that holds its API key",
            403: "; name the variable that holds its API key",
            404: "; a base URL often ends in /v1, and the model must be one that it serves",
        }.get(response.status_code, "")
        raise EndpointError(f"{self.url} refused {self.name} with {response.status_code}: {_message(response)}{hint}")


def _is_address(url: str) -> bool:
    try:
        return httpx.URL(url).scheme in ("http", "https") and bool(httpx.URL(url).host)
    except httpx.InvalidURL:
        return False


def _error(response: httpx.Response) -> Any:
    try:
        found = response.json()
    except ValueError:
        return None
    return found.get("error", found) if isinstance(found, dict) else None


def _code(response: httpx.Response) -> object:
    error = _error(response)
    return error.get("code") if isinstance(error, dict) else None


def _message(response: httpx.Response) -> str:
    error = _error(response)
    return _one_line(str(error.get("message", error) if isinstance(error, dict) else error or response.text or "no reason given"))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; None for none, or for a date."""
    try:
        return max(0.0, float(header or ""))
    except ValueError:
        return None
