"""Several adapters and the base in one batch: each answer is the one it gives alone, token for token, and no cache is shared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mistral7b import LLM, SamplingParams
from mistral7b.checkpoint.adapters import write_adapter
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import CheckpointError, RequestError
from mistral7b.model.lora import LoraSpec
from mistral7b.store.names import resolve
from tests.checkpoint import made as checkpoints
from tests.equivalence.networks import ROOMS

NAMES: tuple[str | None, ...] = (None, "one", "two", "three")
PROMPT = "Once upon a time there was a little dog who lived in a house by the sea with his friend the cat, and every day they"
GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


def written(folder: Path, seed: int, targets: tuple[str, ...] = LoraSpec(1, 1.0).targets) -> Path:
    """An adapter for the embedded model, random and strong enough to change what it says."""
    config = open_checkpoint(resolve("tiny")).config
    write_adapter(checkpoints.adapter(config, LoraSpec(4, 8.0, targets=targets), seed=seed, strength=0.8), folder, "peft")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = tmp_path_factory.mktemp("adapters")
    return {
        "one": written(made / "one", 1),
        "two": written(made / "two", 2, ("wq", "wv")),
        "three": written(made / "three", 3, ("w1", "w2", "w3")),
    }


@pytest.fixture(scope="module", params=ROOMS)
def llm(request: pytest.FixtureRequest, folders: dict[str, Path]) -> LLM:
    return LLM("tiny", adapters=folders, kernels=request.param, max_model_len=512, max_num_seqs=8)


def _together(llm: LLM, asked: Sequence[tuple[str, str | None]]) -> list[list[int]]:
    """The ids that answer each (prompt, adapter), all in one batch."""
    completions = []
    for prompt, adapter in asked:
        ids = llm.tokenizer.encode(prompt, bos=True) if llm.tokenizer else []
        completions += llm.prepare(ids, GREEDY, adapter=adapter)
    for completion in completions:
        llm.engine.add(completion.request)
    while not llm.engine.idle:
        llm.engine.step()
    return [[sampled.id for sampled in completion.request.output] for completion in completions]


def test_each_answers_as_alone(llm: LLM) -> None:
    asked = [(PROMPT[: 20 + 13 * i], NAMES[i % 4]) for i in range(6)]
    alone = [_together(llm, [each])[0] for each in asked]
    assert _together(llm, asked) == alone
    assert _together(llm, asked[::-1]) == alone[::-1]


def test_the_base_beside_adapters_is_the_model_without_any(llm: LLM) -> None:
    plain = LLM("tiny", kernels=llm.model.kernels, max_model_len=512)
    ids = _together(llm, [(PROMPT, name) for name in NAMES])
    assert ids[0] == _together(plain, [(PROMPT, None)])[0]
    assert torch.equal(llm.logits([1, 1100, 1200]), plain.logits([1, 1100, 1200]))


def test_adapters_change_what_is_said_and_share_no_cache(llm: LLM) -> None:
    """One prompt through all of them, one after another: a page found under another's salt would give another's answer."""
    long = " ".join([PROMPT] * 6)  # more than a page of the cache
    fresh = {name: _together(llm, [(long, name)])[0] for name in NAMES}
    assert len({tuple(ids) for ids in fresh.values()}) == 4
    before = llm.engine.stats.cached_tokens
    assert {name: _together(llm, [(long, name)])[0] for name in NAMES} == fresh
    assert llm.engine.stats.cached_tokens > before  # each finds what itself has left


def test_an_adapter_that_is_not_there(llm: LLM, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no adapter 'four' here; known are one, two, three"):
        llm.generate("Once", GREEDY, adapter="four")
    with pytest.raises(CheckpointError):
        LLM("tiny", adapters={"x": tmp_path})
