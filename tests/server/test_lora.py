"""serve --lora: adapters are models by name, in one batch with the base."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from mistral7b import LLM
from mistral7b.server.metrics import Metrics
from mistral7b.server.settings import Settings
from mistral7b.server.state import State
from mistral7b.server.worker import Worker
from tests.equivalence.test_adapters import PROMPT, written
from tests.server.running import House, serving

NAMES = ("tiny", "stories", "tools")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("served")
    lora = {"stories": written(folder / "one", 1), "tools": written(folder / "two", 2)}
    (folder / "sessions").mkdir()
    llm = LLM("tiny", adapters=lora, max_model_len=512, max_num_seqs=4)
    worker = Worker(llm, max_queue=16)
    worker.start()
    settings = Settings(lora=lora, session_dir=folder / "sessions")
    with serving(State(settings, Metrics(), llm=llm, worker=worker)) as running:
        yield running
    worker.stop()


def _complete(house: House, model: str) -> str:
    wanted = {"model": model, "prompt": PROMPT, "max_tokens": 20, "temperature": 0, "ignore_eos": True}
    answer = house.post("/v1/completions", **wanted).raise_for_status().json()
    assert answer["model"] == model
    text: str = answer["choices"][0]["text"]
    return text


def test_they_are_listed_as_models(house: House) -> None:
    listed = httpx.get(f"{house.url}/v1/models").raise_for_status().json()["data"]
    assert [(card["id"], card["root"]) for card in listed] == [(name, "tiny") for name in NAMES]


def test_each_request_goes_through_the_one_it_names(house: House) -> None:
    alone = [_complete(house, name) for name in NAMES]
    assert len(set(alone)) == 3
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda name: _complete(house, name), NAMES * 2)) == alone * 2


def test_a_session_is_one_model_s(house: House) -> None:
    def say(model: str) -> Any:
        said = [{"role": "user", "content": "Tell me about a dog."}]
        return house.post("/v1/chat/completions", model=model, messages=said, max_tokens=8, session_id="mine")

    assert say("stories").status_code == 200
    assert say("stories").status_code == 200
    refused = say("tools")
    assert refused.status_code == 409
    assert "another model's" in refused.json()["error"]["message"]


def test_unknown_names_are_404(house: House) -> None:
    answer = house.post("/v1/completions", model="poems", prompt="Once")
    assert answer.status_code == 404
    assert "this server has tiny, stories, tools" in answer.json()["error"]["message"]


def test_a_name_is_given_once() -> None:
    with pytest.raises(Exception, match="'tiny' names two models"):
        Settings(lora={"tiny": Path("x")})
