"""Decode and prefill speed of `tiny` on the reference kernels, beside transformers with the same weights, interleaved.

    python benchmarks/reference_kernels.py --row-tiles 8 16 32 --threads 1 2 --rounds 5

Prints tokens a second as median (least, most) over the rounds, and with --json one object. transformers (of the test extra)
runs once a round and thread count, in the same type; it does not promise a row the same bits in every batch, we do.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import statistics
import time
from collections.abc import Callable

import torch
from transformers import MistralForCausalLM

from mistral7b import LLM, SamplingParams
from mistral7b.kernels.torch_room import TorchKernels

DECODE = SamplingParams(temperature=0, max_tokens=60, ignore_eos=True)
PREFILL = SamplingParams(temperature=0, max_tokens=1)
PROMPT = [1, *range(1100, 2299)]


def measure(llm: LLM) -> dict[str, float]:
    """Tokens a second of one greedy continuation and of one prompt of 1,200 tokens."""
    (short,) = llm.generate("Once upon a time", DECODE)
    (long,) = llm.generate(PROMPT, PREFILL)
    return {
        "decode": short.timing.tokens_per_second(len(short.outputs[0].token_ids)) or 0.0,
        "prefill": len(PROMPT) / long.timing.first_token_s,
    }


def measure_transformers(model: MistralForCausalLM, ids: list[int]) -> dict[str, float]:
    """The same work, by its own `generate` with its default cache."""

    def seconds(prompt: list[int], tokens: int) -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.int64), do_sample=False,
                min_new_tokens=tokens, max_new_tokens=tokens, pad_token_id=2,
            )  # fmt: skip
        return time.perf_counter() - started

    first, all_of_it = seconds(ids, 1), seconds(ids, 60)
    return {"decode": 59 / (all_of_it - first), "prefill": len(PROMPT) / seconds(PROMPT, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row-tiles", type=int, nargs="+", default=[16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    llm = LLM("tiny", dtype=args.dtype, kernels="torch", enable_prefix_caching=False, speculative=False)
    kernels = llm.model.output.kernels
    assert isinstance(kernels, TorchKernels)
    theirs = MistralForCausalLM.from_pretrained(llm.checkpoint.path, dtype=llm.model.dtype).eval()
    assert llm.tokenizer is not None
    prompt = llm.tokenizer.encode("Once upon a time", bos=True)

    def ours(tile: int) -> dict[str, float]:
        kernels.row_tile = tile
        return measure(llm)

    systems: dict[str, Callable[[], dict[str, float]]] = {
        f"row tile {tile:>2}": functools.partial(ours, tile) for tile in args.row_tiles
    }
    systems["transformers"] = functools.partial(measure_transformers, theirs, prompt)
    settings = list(itertools.product(systems, args.threads))
    found: dict[tuple[str, int], list[dict[str, float]]] = {setting: [] for setting in settings}
    for system, threads in settings * (args.rounds + 1):
        torch.set_num_threads(threads)
        found[system, threads].append(systems[system]())
    rows = [
        {"system": system, "threads": threads, "what": what}
        | dict(zip(("median", "least", "most"), (statistics.median(each), min(each), max(each)), strict=True))
        for (system, threads), rounds in found.items()
        for what in ("decode", "prefill")
        for each in [[one[what] for one in rounds[1:]]]  # the first round warms up
    ]
    if args.json:
        print(json.dumps({"dtype": args.dtype, "rounds": args.rounds, "tokens_per_second": rows}))
        return
    for row in rows:
        print("{system:<12} threads {threads}, {what:<7} {median:8.1f} ({least:.1f}, {most:.1f})".format(**row))


if __name__ == "__main__":
    main()
