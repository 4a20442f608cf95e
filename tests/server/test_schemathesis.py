"""The OpenAPI document against the application: whatever the document allows, and much that it does not, is never a 5xx."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.schemas import OpenApiSchema

from mistral7b import LLM
from mistral7b.server.app import create_routes
from mistral7b.server.metrics import Metrics
from mistral7b.server.settings import Settings
from mistral7b.server.state import State
from mistral7b.server.worker import Worker

SETTINGS = Settings(request_timeout_s=0.5, max_n=2)
OPERATIONS = [
    (method.upper(), path)
    for path, methods in create_routes(State(SETTINGS, Metrics())).openapi()["paths"].items()
    for method in methods
]

# What needs no body and no parameter cannot be asked wrongly.
CASES = [(method, path, mode) for method, path in OPERATIONS for mode in GenerationMode if method == "POST" or mode.is_positive]


@pytest.fixture(scope="module")
def document(llm: LLM) -> Iterator[OpenApiSchema]:
    """The routes over a model that is loaded; answers end after half a second."""
    working = Worker(llm, max_queue=16)
    working.start()
    yield schemathesis.openapi.from_asgi("/openapi.json", create_routes(State(SETTINGS, Metrics(), llm=llm, worker=working)))
    working.stop()


def test_every_route_is_in_the_document() -> None:
    assert len(OPERATIONS) >= 13
    assert ("POST", "/v1/chat/completions") in OPERATIONS


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_no_request_is_a_mistake_of_ours(document: OpenApiSchema, method: str, path: str, mode: GenerationMode) -> None:
    """`mode`: requests that fit the document, and ones that do not."""
    operation = document[path][method]

    @settings(
        max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        database=None,
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def put(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=[not_a_server_error])

    put()
