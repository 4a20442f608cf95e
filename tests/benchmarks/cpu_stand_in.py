"""A worker of cpu_inference.py that computes nothing: its tokens take the seconds given on the command line."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from cpu_protocol import serve

EACH = float(sys.argv[1])


def prefill(tokens: int) -> dict[str, Any]:
    sys.stdout.write("a library says something on stdout\n")
    sys.stdout.flush()
    os.write(1, b"and below Python, too\n")
    marks = [[end, EACH * end] for end in range(2048, tokens + 1, 2048)]
    return {"seconds": EACH * tokens, "tokens": tokens, "marks": marks}


def decode(depth: int, tokens: int) -> dict[str, Any]:
    return {"seconds": EACH * tokens * (1 + depth / 8192), "tokens": tokens}


def batch(size: int, prompt: int, tokens: int) -> dict[str, Any]:
    raise RuntimeError(f"no room for {size} x {prompt + tokens}\nand more that nobody wants to read")


def hang() -> None:
    time.sleep(60)


def die() -> None:
    sys.stderr.write("out of luck\n")
    sys.stderr.flush()
    os._exit(3)


def spin() -> int:
    return os.getpid()


rate = {"value": 1000.0}
commands = {"about": lambda: {"read_bytes": 10**9}, "prefill": prefill, "decode": decode, "batch": batch, "hang": hang}
rates = {name: lambda: rate for name in ("read", "int8", "bf16", "fp32")}
serve({**commands, **rates, "die": die, "spin": spin, "rows": lambda rows, forwards: {"seconds": 1.0, "tokens": rows * forwards}})
