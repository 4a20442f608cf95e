"""One layer's training attention, forward and backward: what the window saves, and that memory grows with T x W.

    python benchmarks/training_attention.py --rounds 3 --json

q, k and v of one document of T rows, random, the 7B's channels (128) and 4 query heads a KV head, but fewer heads. Windowed
and full attention are the same code and take turns; ratios are taken within a round, given as median (least, most). `--cpu-time`
counts the processor time of one thread: steadier on a machine with other work. Counting pairs, W = 4,096 at T = 16,384 costs 0.44
of full attention.

Memory is that of a process of its own for each T: VmHWM less the resident memory before the forward pass, so q, k and v are
outside and gradients, result and scores inside. Beside it the scores of all heads as one dense fp32 tensor, H x T x T.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from attention_kernels import spread

from mistral7b.kernels.packed import PackedPlan, packed_attention

CHANNELS, PER_KV = 128, 4


def work(rows: int, heads: int, window: int | None) -> Callable[[], None]:
    """One forward and backward, its plan included."""
    generator = torch.Generator().manual_seed(1)
    shapes = [(rows, h, CHANNELS) for h in (heads, heads // PER_KV, heads // PER_KV)]
    q, k, v = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    pull = torch.randn(rows, heads, CHANNELS, generator=generator)

    def run() -> None:
        packed_attention(q, k, v, PackedPlan.of(torch.arange(rows), window, q.device)).backward(pull)
        q.grad = k.grad = v.grad = None

    return run


def resident(key: str) -> int:
    """Bytes: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


def rise(rows: int, heads: int, window: int | None) -> int:
    """Bytes at the fullest moment, in a process of its own, over those held before."""
    work(256, heads, 64)()  # loads what the first call loads
    run = work(rows, heads, window)
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def apart(argv: Sequence[str], rows: int, window: int | None) -> int:
    done = subprocess.run(
        [sys.executable, __file__, *argv, "--memory-of", str(rows), str(window or 0)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=16_384)
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-rows", type=int, nargs="*", default=[4096, 8192, 16_384])
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1 if args.cpu_time else args.threads)
    if args.memory_of:
        print(rise(args.memory_of[0], args.heads, args.memory_of[1] or None))
        return
    clock = time.process_time if args.cpu_time else time.perf_counter
    works = {"windowed": work(args.rows, args.heads, args.window), "full": work(args.rows, args.heads, None)}
    took: dict[str, list[float]] = {name: [] for name in works}
    work(512, args.heads, 256)()
    for r in range(args.rounds):
        for name in sorted(works, reverse=bool(r % 2)):
            began = clock()
            works[name]()
            took[name].append(clock() - began)
    found: dict[str, Any] = {f"{name}, s": spread(each) for name, each in took.items()}
    found["windowed / full"] = spread([a / b for a, b in zip(took["windowed"], took["full"], strict=True)])
    given = list(argv if argv is not None else sys.argv[1:])
    for rows in args.memory_rows:
        for name, window in (("windowed", args.window), ("full", None)):
            found[f"memory at {rows}, {name}, MiB"] = apart(given, rows, window) / 2**20
        found[f"memory at {rows}, dense scores, MiB"] = 4 * args.heads * rows * rows / 2**20
    if args.json:
        print(json.dumps({**vars(args), "found": found}))
        return
    for name, each in found.items():
        if isinstance(each, float):
            print(f"{name:<40} {each:10,.0f}")
        else:
            print(f"{name:<40} {each['median']:10.3f} ({each['least']:.3f}, {each['most']:.3f})")


if __name__ == "__main__":
    main()
