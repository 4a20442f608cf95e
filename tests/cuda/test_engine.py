"""The engine on an NVIDIA GPU beside the same on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mistral7b import LLM, SamplingParams

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

PROMPTS = ("Once upon a time", "The dog saw a big red ball and", "One day, a little girl named Lily went to the")


@pytest.mark.parametrize("options", [{}, {"enable_prefix_caching": False}], ids=str)
def test_answers_are_those_of_the_cpu(options: dict[str, Any]) -> None:
    """Greedily in fp32, in one batch and alone."""
    options = {"dtype": "float32", "kernels": "torch", "max_model_len": 1024} | options
    params = SamplingParams(temperature=0.0, max_tokens=40)
    here, there = (LLM("tiny", device=device, **options) for device in ("cpu", "cuda"))
    assert there.model.device.type == "cuda"
    expected = [output.outputs[0].text for output in here.generate(list(PROMPTS), params)]
    found = [output.outputs[0].text for output in there.generate(list(PROMPTS), params)]
    assert found == expected
    alone = [there.generate([prompt], params)[0].outputs[0].text for prompt in PROMPTS]
    assert alone == found


def test_an_int8_cache_holds_what_the_cpus_does() -> None:
    """Sums that differ in their last bit may be rounded to another of 256 steps, so probabilities are near and not the same."""
    options: dict[str, Any] = {"dtype": "float32", "kernels": "torch", "max_model_len": 1024, "kv_dtype": "int8"}
    params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=1)
    texts = [f"{prompt} {' '.join(PROMPTS)}" for prompt in PROMPTS]
    here, there = (LLM("tiny", device=device, **options) for device in ("cpu", "cuda"))
    expected = _told(here, texts, params)
    together, alone = _told(there, texts, params), [_told(there, [text], params)[0] for text in texts]
    for one, other, third in zip(expected, together, alone, strict=True):
        assert len(one) > 20
        assert other == pytest.approx(one, abs=0.05)
        assert third == pytest.approx(one, abs=0.05)


def _told(llm: LLM, texts: list[str], params: SamplingParams) -> list[list[float]]:
    """The log-probability of every token of each text but the first."""
    outputs = llm.generate(texts, params)
    return [
        [found[id].logprob for found, id in zip(output.prompt_logprobs[1:], output.prompt_token_ids[1:], strict=True)]
        for output in outputs
    ]
