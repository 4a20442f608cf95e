"""Prometheus metrics of one server, in a registry of its own.

A scrape reads plain integers that the engine's thread writes and never waits for that thread: /metrics answers while a long
prompt is being computed, and the engine does not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from mistral7b.engine.engine import Engine

PREFIX = "mistral7b_"
# Seconds: from a cached prompt on the embedded model to a long one of 7B on a laptop.
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_TOKENS = (1, 8, 32, 128, 512, 2048, 8192, 32768, 131072)
# (name, what it is, where it stands)
_COUNTERS = (
    ("steps", "Forwards of the model.", "steps"),
    ("prompt_tokens", "Prompt tokens taken.", "prompt_tokens"),
    ("generated_tokens", "Tokens generated.", "generated_tokens"),
    ("prefix_cache_queried_tokens", "Prompt tokens looked for in the prefix cache.", "looked_up_tokens"),
    ("prefix_cache_hit_tokens", "Prompt tokens found in the prefix cache.", "cached_tokens"),
    ("drafted_tokens", "Tokens drafted.", "drafted_tokens"),
    ("accepted_tokens", "Drafted tokens that were right, forced ones included.", "accepted_tokens"),
    ("forced_tokens", "Accepted tokens that a grammar forced.", "forced_tokens"),
    ("preemptions", "Requests put off for want of pages, to be computed again.", "preemptions"),
)


class Queues(NamedTuple):
    """Requests in the engine, and those waiting for it."""

    running: int
    waiting: int


class Metrics:
    """Counts requests as they end; `watch` adds what an engine knows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            f"{PREFIX}requests", "Requests answered.", ("route", "method", "status"), registry=self.registry
        )  # fmt: skip
        self._first_token = self._histogram("time_to_first_token_seconds", "From arrival to the first token.", _SECONDS)
        self._per_token = self._histogram(
            "time_per_output_token_seconds", "Between tokens after the first; a request's mean.", _TOKEN_SECONDS
        )  # fmt: skip
        self._latency = self._histogram("request_latency_seconds", "From arrival to the end of the answer.", _SECONDS)
        self._queue = self._histogram("queue_time_seconds", "From arrival to the first step.", _SECONDS)
        self._prompt = self._histogram("request_prompt_tokens", "Prompt tokens of a request.", _TOKENS)
        self._generated = self._histogram("request_generated_tokens", "Generated tokens of a request, all choices.", _TOKENS)

    def observe(
        self,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        took_s: float,
        queue_s: float | None,
        first_token_s: float,
        decode_s: float,
    ) -> None:
        """Count one request that generated; `decode_s` is from its first token to its last."""
        self._first_token.observe(first_token_s)
        self._latency.observe(took_s)
        self._prompt.observe(prompt_tokens)
        self._generated.observe(completion_tokens)
        if completion_tokens > 1:
            self._per_token.observe(decode_s / (completion_tokens - 1))
        if queue_s is not None:
            self._queue.observe(queue_s)

    def watch(self, engine: Engine, queues: Callable[[], Queues]) -> None:
        """Show `engine`'s counters, its pages and `queues` in every scrape from now on. Raises ValueError the second time."""
        self.registry.register(_EngineCollector(engine, queues))

    def render(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}{name}", help, buckets=buckets, registry=self.registry)


class _EngineCollector(Collector):
    def __init__(self, engine: Engine, queues: Callable[[], Queues]) -> None:
        self.engine = engine
        self.queues = queues

    def collect(self) -> Iterator[Any]:
        """One family a number; each is read once, so a scrape may fall between two of them."""
        pool, queues = self.engine.pool, self.queues()
        yield GaugeMetricFamily(f"{PREFIX}requests_running", "Requests in the engine's batch.", queues.running)
        yield GaugeMetricFamily(f"{PREFIX}requests_waiting", "Requests waiting for the engine.", queues.waiting)
        yield GaugeMetricFamily(f"{PREFIX}pages_free", "Pages of the KV cache that nobody holds.", pool.n_free)
        yield GaugeMetricFamily(f"{PREFIX}pages_total", "Pages of the KV cache.", pool.n_pages)
        for name, help, held in _COUNTERS:
            yield CounterMetricFamily(f"{PREFIX}{name}", help, getattr(self.engine.stats, held))
