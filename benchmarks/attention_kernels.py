"""The native attention alone: what the window saves, how near decode is to the memory, what grouped queries buy.

    python benchmarks/attention_kernels.py --rounds 5 --json

Three questions, each on the 7B's shape (32 query heads of 128 channels), with random numbers. Variants take turns; the figures
are medians (least, most) over the rounds. `--cpu-time` counts the processor time of one thread instead of the clock: steadier on
a machine with other work, and the only way to compare variants there.

- windowed against full: one layer's attention over a sequence of 16,384 in chunks of 4,096, with a window of 4,096 and without.
  Counting scores, the window saves a factor of 2.29.
- decode: one layer's attention of one token at depth 4,096, in bytes of keys and values a second beside a plain read of as much
  memory, for each type of cache.
- grouped queries: a decode step of one whole int4 layer, batch 16, at depth 4,096, with 32 KV heads and with 8.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mistral7b.bench.made import of_config
from mistral7b.kernels.cache import Pages, quantized
from mistral7b.kernels.native_room import NativeKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.pages import PagePool
from mistral7b.variants import V01

HEADS, KV_HEADS, CHANNELS, PAGE_TOKENS, WINDOW = 32, 8, 128, 64, 4096
CACHES = {"bfloat16": torch.bfloat16, "int8": torch.int8, "float32": torch.float32}

Work = Callable[[], object]


def rounds_of(works: dict[str, Work], rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each work in every round, taking turns; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            began = clock()
            work()
            seconds[name].append(clock() - began)
    return {name: each[1:] for name, each in seconds.items()}


def cache(tokens: int, kv_heads: int, dtype: torch.dtype) -> Pages:
    pages = torch.randn(-(-tokens // PAGE_TOKENS), PAGE_TOKENS, kv_heads, CHANNELS)
    return Pages(*quantized(pages)) if dtype == torch.int8 else Pages(pages.to(dtype))


def prefill(kernels: NativeKernels, length: int, chunk: int, window: int | None) -> Work:
    """Attention of a whole sequence, chunk after chunk, through one table of pages in order."""
    k, v = (cache(length, KV_HEADS, torch.bfloat16) for _ in "kv")
    q = torch.randn(chunk, HEADS, CHANNELS).bfloat16()
    table = torch.arange(length // PAGE_TOKENS)[None]
    borders = torch.tensor([0, chunk])

    def work() -> None:
        for start in range(0, length, chunk):
            plan = kernels.plan(torch.arange(start, start + chunk), borders, table, PAGE_TOKENS, window, q.device)
            kernels.paged_attention(q, k, v, plan)

    return work


def decode(kernels: NativeKernels, depth: int, dtype: torch.dtype) -> tuple[Work, int]:
    """Attention of one token after `depth` others; and the bytes of keys and values it reads."""
    k, v = (cache(depth, KV_HEADS, dtype) for _ in "kv")
    q = torch.randn(1, HEADS, CHANNELS).bfloat16()
    table = torch.randperm(depth // PAGE_TOKENS)[None]
    plan = kernels.plan(torch.tensor([depth - 1]), torch.tensor([0, 1]), table, PAGE_TOKENS, WINDOW, q.device)
    n_bytes = sum(held.nbytes for pages in (k, v) for held in (pages.numbers, pages.scales) if held is not None)
    return lambda: kernels.paged_attention(q, k, v, plan), n_bytes


def layer_step(kernels: NativeKernels, kv_heads: int, batch: int, depth: int) -> Work:
    """A decode step of one layer of the 7B's shape in int4 with a bf16 cache, without the head."""
    config = replace(V01, n_layers=1, n_kv_heads=kv_heads, vocab_size=1000)
    model = of_config(config, "int4", kernels)
    per = depth // PAGE_TOKENS
    pool = PagePool(config, batch * per, page_tokens=PAGE_TOKENS, dtype=torch.bfloat16)
    pool.k.normal_()
    pool.v.normal_()
    tables = [list(range(1 + i * per, 1 + (i + 1) * per)) for i in range(batch)]
    step = TokenBatch.pack([Span([i], depth - 1, table) for i, table in enumerate(tables)])

    @torch.inference_mode()
    def work() -> Tensor:
        return model.hidden(step, pool)

    return work


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    return spread([a / b for a, b in zip(above, below, strict=True)])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["window", "decode", "groups"], nargs="+", default=["window", "decode", "groups"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--instruction-set", default=None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=16384)
    parser.add_argument("--depth", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    kernels = NativeKernels(1 if args.cpu_time else args.threads, args.instruction_set)
    clock = time.thread_time if args.cpu_time else time.perf_counter
    found: dict[str, dict[str, float]] = {}
    if "window" in args.only:
        works = {str(window): prefill(kernels, args.length, min(WINDOW, args.length), window) for window in (WINDOW, None)}
        took = rounds_of(works, args.rounds, clock)
        found["window: full / windowed"] = ratios(took["None"], took[str(WINDOW)])
        found["window: windowed, s"] = spread(took[str(WINDOW)])
        pairs = sum(min(i + 1, WINDOW) for i in range(args.length))
        found["window: windowed, GFLOP/s"] = spread([4e-9 * pairs * HEADS * CHANNELS / s for s in took[str(WINDOW)]])
    if "decode" in args.only:
        # Several layers' worth in turn, so that nothing is read from the last-level cache.
        for name, dtype in CACHES.items():
            layers = [decode(kernels, args.depth, dtype) for _ in range(8)]
            n_bytes = sum(each for _, each in layers)
            took = rounds_of({"all": lambda layers=layers: [work() for work, _ in layers]}, args.rounds, clock)  # type: ignore[misc]
            found[f"decode: {name}, GB/s"] = spread([n_bytes / s / 1e9 for s in took["all"]])
            found[f"decode: {name}, ms a layer"] = spread([s / len(layers) * 1e3 for s in took["all"]])
        memory = torch.ones(1 << 28, dtype=torch.uint8).view(torch.int64)
        took = rounds_of({"read": memory.sum}, args.rounds, clock)
        found["decode: plain read of one thread, GB/s"] = spread([memory.nbytes / s / 1e9 for s in took["read"]])
    if "groups" in args.only:
        works = {str(kv): layer_step(kernels, kv, args.batch, args.depth) for kv in (8, 32)}
        took = rounds_of(works, args.rounds, clock)
        found["groups: 32 / 8 KV heads"] = ratios(took["32"], took["8"])
        found["groups: 8 KV heads, ms"] = spread([1e3 * s for s in took["8"]])
    if args.json:
        about = {"instruction_set": kernels.instruction_set, "threads": kernels.threads}
        print(json.dumps(vars(args) | about | {"found": found}))
        return
    print(f"{kernels.instruction_set}, {kernels.threads} threads")
    for name, each in found.items():
        print(f"{name:<40} {each['median']:9.3f} ({each['least']:.3f}, {each['most']:.3f})")


if __name__ == "__main__":
    main()
