"""The engine on an NVIDIA GPU beside the same on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mistral7b import LLM, SamplingParams

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

PROMPTS = ("Once upon a time", "The dog saw a big red ball and", "One day, a little girl named Lily went to the")


@pytest.mark.parametrize("options", [{}, {"kv_dtype": "int8"}, {"enable_prefix_caching": False}], ids=str)
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
