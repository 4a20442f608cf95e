"""Decode and prefill speed of `tiny` on the reference kernels, for several row tiles and thread counts, interleaved.

    python benchmarks/reference_kernels.py --row-tiles 8 16 32 --threads 1 2 --rounds 5

Prints tokens a second as median (least, most) over the rounds, and with --json one object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics

import torch

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row-tiles", type=int, nargs="+", default=[16])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    llm = LLM("tiny", dtype=args.dtype)
    kernels = llm.model.output.kernels
    assert isinstance(kernels, TorchKernels)
    settings = list(itertools.product(args.row_tiles, args.threads))
    found: dict[tuple[int, int], list[dict[str, float]]] = {setting: [] for setting in settings}
    for tile, threads in settings * (args.rounds + 1):
        kernels.row_tile = tile
        torch.set_num_threads(threads)
        found[tile, threads].append(measure(llm))
    rows = [
        {"row_tile": tile, "threads": threads, "what": what}
        | dict(zip(("median", "least", "most"), (statistics.median(each), min(each), max(each)), strict=True))
        for (tile, threads), rounds in found.items()
        for what in ("decode", "prefill")
        for each in [[one[what] for one in rounds[1:]]]  # the first round warms up
    ]
    if args.json:
        print(json.dumps({"dtype": args.dtype, "rounds": args.rounds, "tokens_per_second": rows}))
        return
    for row in rows:
        print("row tile {row_tile:>2}, threads {threads}, {what:<7} {median:8.1f} ({least:.1f}, {most:.1f})".format(**row))


if __name__ == "__main__":
    main()
