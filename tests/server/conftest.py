"""A server on the loopback with the embedded model, and clients for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mistral7b import LLM
from mistral7b.server.metrics import Metrics
from mistral7b.server.settings import Settings
from mistral7b.server.state import State
from mistral7b.server.worker import Worker
from tests.server.running import House, serving

__all__ = ["House", "serving"]


@pytest.fixture(scope="session")
def llm() -> LLM:
    """`tiny`, four at a time, in a short context."""
    return LLM("tiny", max_model_len=1024, max_num_seqs=4)


@pytest.fixture
def worker(llm: LLM) -> Iterator[Worker]:
    """The engine's thread over an engine that is, and must be left, empty."""
    working = Worker(llm, max_queue=4)
    working.start()
    yield working
    working.stop()
    assert llm.engine.idle
    assert llm.engine.pool.n_free == llm.engine.pool.n_pages


@pytest.fixture(scope="module")
def house(llm: LLM) -> Iterator[House]:
    """A server with the model loaded; whoever uses it must leave the engine empty."""
    working = Worker(llm, max_queue=16)
    working.start()
    state = State(Settings(max_body_bytes=1 << 20), Metrics(), llm=llm, worker=working)
    with serving(state) as running:
        yield running
    working.stop()
    assert llm.engine.idle
    assert llm.engine.pool.n_free == llm.engine.pool.n_pages
