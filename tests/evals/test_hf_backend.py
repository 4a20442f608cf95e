"""Beside lm-eval's hf backend over transformers' model of the same weights: the same scores, choices and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mistral7b.api import LLM, SamplingParams
from mistral7b.evals.lm import EngineLM
from tests.evals import theirs
from tests.evals.made import continuation, rolling, text

CLOSE = 2e-4  # nats; both sum fp32 log-probabilities
SHORT = [
    ("Once upon a time", " there was a cat"), ("Once upon a time ", "there was"), ("Once upon a time\n\n", " A"),
    ("", "Hello there"), ("é ü\n", " ß"), ("Tom has a red ball.", " It"), ("Tom has a red ball.", " It is big."),
]  # fmt: skip
STORY = "Once upon a time there was a girl who liked to play. Her cat was black, and very old. The dog ran to the park. "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return theirs.folder(tmp_path_factory.mktemp("hf"))


@pytest.fixture(scope="module")
def ours() -> EngineLM:
    return EngineLM(LLM("tiny", dtype="float32"))


def same_scores(ours: EngineLM, hf: Any, pairs: list[tuple[str, str]]) -> None:
    requests = [continuation(*pair) for pair in pairs]
    found = ours.loglikelihood(requests, disable_tqdm=True)
    for (a, greedy), (b, expected) in zip(found, hf.loglikelihood(requests, disable_tqdm=True), strict=True):
        assert a == pytest.approx(b, abs=CLOSE)
        assert greedy == expected


def test_scores_and_texts(folder: Path, ours: EngineLM) -> None:
    hf = theirs.backend(folder)
    assert ours.max_length == hf.max_length
    assert ours.prefix_token_id == hf.prefix_token_id
    likeliest = (
        ours.llm.generate([ours.tok_encode("Once upon a time")], SamplingParams(temperature=0, max_tokens=1))[0].outputs[0].text
    )
    same_scores(ours, hf, [*SHORT, ("Once upon a time", likeliest)])
    asks = [
        text(context, until=[".", "\n"], max_gen_toks=12)
        for context in ("Once upon a time", "The dog", "", "Question: Why?\nAnswer:")
    ]
    assert ours.generate_until(asks, disable_tqdm=True) == hf.generate_until(asks, disable_tqdm=True)


@pytest.mark.slow
def test_past_the_window_and_the_context(folder: Path, ours: EngineLM) -> None:
    """Contexts of more than 512 tokens, and of more than the 2,048 of the model, which lose their beginning; rolling windows."""
    hf = theirs.backend(folder, add_bos_token=False)
    window, context = STORY * 30, STORY * 90
    assert 512 < len(ours.tok_encode(window)) < 2048 < len(ours.tok_encode(context))
    rolls = [rolling(STORY), rolling(window), rolling(context)]
    for a, b in zip(ours.loglikelihood_rolling(rolls, True), hf.loglikelihood_rolling(rolls, True), strict=True):
        assert a == pytest.approx(b, rel=3e-6, abs=CLOSE)  # theirs adds up in fp32
    hf = theirs.backend(folder)
    same_scores(ours, hf, [(long, answer) for long in (window, context) for answer in (" Tom", " She was", " The cat sat.")])
    asks = [text(long, until=["\n"], max_gen_toks=40) for long in (window, context)]
    assert ours.generate_until(asks, disable_tqdm=True) == hf.generate_until(asks, disable_tqdm=True)
