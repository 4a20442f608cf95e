"""Metrics: what was counted is what a scrape shows, and nobody else's registry is touched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from mistral7b.engine.stats import EngineStats
from mistral7b.server.metrics import Metrics, Queues


def scraped(metrics: Metrics) -> dict[str, float]:
    """Sample name, with its labels if it has some, to value."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        sample.name + ("" if not sample.labels else str(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def engine(**counts: int) -> Any:
    return SimpleNamespace(stats=EngineStats(**counts), pool=SimpleNamespace(n_free=30, n_pages=40))


def test_the_engine_as_it_stands_at_each_scrape() -> None:
    metrics, running = (
        Metrics(),
        engine(prompt_tokens=5, looked_up_tokens=8, cached_tokens=6, drafted_tokens=9, accepted_tokens=7),
    )
    metrics.watch(running, lambda: Queues(3, 2))
    shown = scraped(metrics)
    expected = {
        "requests_running": 3, "requests_waiting": 2, "pages_free": 30, "pages_total": 40, "prompt_tokens_total": 5,
        "generated_tokens_total": 0, "prefix_cache_queried_tokens_total": 8, "prefix_cache_hit_tokens_total": 6,
        "drafted_tokens_total": 9, "accepted_tokens_total": 7, "forced_tokens_total": 0, "preemptions_total": 0, "steps_total": 0,
    }  # fmt: skip
    assert {name: shown[f"mistral7b_{name}"] for name in expected} == expected
    running.stats.generated_tokens, running.pool.n_free = 11, 29
    later = scraped(metrics)
    assert (later["mistral7b_generated_tokens_total"], later["mistral7b_pages_free"]) == (11, 29)


def test_before_the_model_is_loaded_there_is_no_engine() -> None:
    assert not any("pages" in name for name in scraped(Metrics()))


def test_requests_by_route_and_status() -> None:
    metrics = Metrics()
    for status in ("200", "200", "429"):
        metrics.requests.labels("/v1/completions", "POST", status).inc()
    labels = "[('method', 'POST'), ('route', '/v1/completions'), ('status', '{}')]"
    shown = scraped(metrics)
    assert shown["mistral7b_requests_total" + labels.format("200")] == 2
    assert shown["mistral7b_requests_total" + labels.format("429")] == 1


@pytest.mark.parametrize(("tokens", "per_token"), [(1, 0), (11, 1)])
def test_times_of_a_request(tokens: int, per_token: int) -> None:
    metrics = Metrics()
    metrics.observe(prompt_tokens=20, completion_tokens=tokens, took_s=3.0, queue_s=None, first_token_s=0.5, decode_s=2.0)
    shown = scraped(metrics)
    assert shown["mistral7b_time_to_first_token_seconds_sum"] == 0.5
    assert shown["mistral7b_request_latency_seconds_sum"] == 3.0
    assert shown["mistral7b_time_per_output_token_seconds_count"] == per_token
    assert shown["mistral7b_time_per_output_token_seconds_sum"] == pytest.approx(0.2 * per_token)
    assert shown["mistral7b_queue_time_seconds_count"] == 0
    assert shown["mistral7b_request_prompt_tokens_sum"] == 20
    assert shown["mistral7b_request_generated_tokens_sum"] == tokens


def test_two_servers_count_apart_and_the_global_registry_stays_empty_of_us() -> None:
    first, second = Metrics(), Metrics()
    first.requests.labels("/x", "GET", "200").inc()
    assert not any(name.startswith("mistral7b_requests_total") for name in scraped(second))
    assert not any(family.name.startswith("mistral7b") for family in prometheus_client.REGISTRY.collect())


def test_every_name_has_our_prefix() -> None:
    metrics = Metrics()
    metrics.watch(engine(), lambda: Queues(0, 0))
    families = list(text_string_to_metric_families(metrics.render().decode()))
    assert len(families) >= 19
    assert all(family.name.startswith("mistral7b_") and family.documentation.endswith(".") for family in families)
