"""The quality goals, on text that `tiny` writes itself: half to calibrate on, half to measure on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from benchmarks.quantization_quality import bits, by_gptq, by_llama_cpp, by_nearest, network, q4_0, q6_k
from gguf.constants import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

from mistral7b.api import LLM, SamplingParams
from mistral7b.checkpoint.load import load_weights
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.report import measure_quality


def test_q4_0_is_the_librarys() -> None:
    weight = torch.randn(20, 96, generator=torch.Generator().manual_seed(0))
    theirs = dequantize(quantize(weight.numpy(), Type.Q4_0), Type.Q4_0)
    assert np.array_equal(q4_0(weight).dense(torch.float32).numpy(), theirs)


def test_the_stand_in_for_q6_k_has_six_bits_worth_of_error() -> None:
    weight = torch.randn(20, 512, generator=torch.Generator().manual_seed(0))
    error = (q6_k(weight) - weight).square().mean()
    assert 1e-4 < float(error) < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_four_bits_cost_less_than_llama_cpps_and_than_rounding() -> None:
    llm = LLM("tiny", dtype="float32", max_num_seqs=16, kernels="torch")  # as the figures were taken
    openings = [
        "Once upon a time",
        "One day",
        "The little",
        "There was",
        "In the morning",
        "A boy named Tom",
        "It was",
        "Mother said",
    ]
    written = llm.generate(openings * 16, [SamplingParams(max_tokens=160, seed=seed, ignore_eos=True) for seed in range(128)])
    texts = [[*story.prompt_token_ids, *story.outputs[0].token_ids] for story in written]
    given, measured = texts[:96], texts[96:]
    checkpoint, weights = llm.checkpoint, load_weights(llm.checkpoint, dtype=torch.float32)
    original = network(checkpoint, weights, {})
    ours, plain, theirs = (
        (bits(matrices, weights), measure_quality(original, network(checkpoint, weights, matrices), measured))
        for matrices in (
            by_gptq(checkpoint, Recipe("int4", "int5"), given),
            by_nearest(weights, "int4", "int5"),
            by_llama_cpp(weights),
        )
    )
    assert ours[0] < theirs[0]
    assert abs(ours[1].perplexity_change) < abs(theirs[1].perplexity_change)
    assert ours[1].kl < theirs[1].kl
    assert ours[1].kl < 0.7 * plain[1].kl
