"""The embedded model: whole, what its card says, and the same function in transformers."""

from __future__ import annotations

import re

import torch
from transformers import MistralForCausalLM

from mistral7b import LLM, SamplingParams
from mistral7b.checkpoint.verify import verify
from mistral7b.store.names import resolve

FOLDER = resolve("tiny")


def test_every_byte_is_the_manifests() -> None:
    report = verify(FOLDER)
    assert report.ok
    assert {check.name: check.status for check in report.checks}["hashes"] == "pass"


def test_the_card_tells_the_training_facts() -> None:
    facts, card = verify(FOLDER, hashes=False).training, (FOLDER / "README.md").read_text(encoding="utf-8")
    assert facts is not None
    assert f"{facts['tokens']:,} tokens in {facts['steps']:,} steps" in card
    for source, bits in facts["held_out_bits_per_byte"].items():
        assert f"| {source} | {bits:.3f} |" in card


def test_the_cards_first_sample_comes_out_again() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    sample = re.search(r"> \*\*(.*?)\*\*(.*?)\n\n", card, flags=re.DOTALL)
    assert sample is not None
    text = LLM("tiny").generate(sample[1], SamplingParams(temperature=0, max_tokens=40))[0].outputs[0].text
    assert sample[2].replace("\n> ", "\n").startswith(text)


def test_transformers_computes_the_same_logits() -> None:
    llm = LLM("tiny", dtype="float32")
    assert llm.tokenizer is not None
    ids = llm.tokenizer.encode("Once upon a time there was a dog. " * 80, bos=True)
    assert len(ids) > 700, "longer than the window"
    theirs = MistralForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
    assert (llm.logits(ids) - expected).abs().max() < 1e-4
