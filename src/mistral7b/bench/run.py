"""A short benchmark: rounds of the machine's own rates and the model's, in turn, so that both see the same machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from mistral7b.bench.machine import Machine, median
from mistral7b.bench.made import products, read_bytes
from mistral7b.bench.speed import Sequence
from mistral7b.kernels.native_room import NativeKernels
from mistral7b.model.transformer import Transformer


@dataclass(frozen=True)
class Result:
    """Medians over the rounds. `decode_of_bandwidth` is what decode reads of the weights beside plain reading, `prefill_of_int8`
    what prefill multiplies with weights beside oneDNN's int8 product; None where that could not be measured."""

    instruction_set: str
    threads: int
    rounds: int
    prefill_tokens: int
    decode_tokens: int
    weight_bytes: int
    prefill_tok_s: float
    decode_tok_s: float
    read_gb_s: float
    int8_gops: float | None
    decode_of_bandwidth: float
    prefill_of_int8: float | None

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def run(
    model: Transformer,
    kernels: NativeKernels,
    *,
    prefill: int,
    decode: int,
    rounds: int,
    progress: Callable[[int, int], None],
    kv_dtype: torch.dtype | None = None,
) -> Result:
    """Measure `model`, which computes with `kernels` over a cache of `kv_dtype`, by default its own type; `progress` is told
    (rounds done, rounds in all). One round warms up."""
    machine, sequence = Machine(kernels), Sequence(model, prefill, decode, kv_dtype)
    reads, int8, prefills, decodes = [], [], [], []
    for done in range(rounds + 1):
        read, rate, speed = machine.read_gb_s(), machine.int8_gops(), sequence.run()
        progress(done + 1, rounds + 1)
        if done:
            reads.append(read)
            prefills.append(speed.prefill_tok_s)
            decodes.append(speed.decode_tok_s)
            int8 += [] if rate is None else [rate]
    size, work = read_bytes(model), products(model.config)
    return Result(
        instruction_set=kernels.instruction_set,
        threads=kernels.threads,
        rounds=rounds,
        prefill_tokens=prefill,
        decode_tokens=decode,
        weight_bytes=size,
        prefill_tok_s=median(prefills),
        decode_tok_s=median(decodes),
        read_gb_s=median(reads),
        int8_gops=median(int8) if int8 else None,
        decode_of_bandwidth=median([tokens * size / read / 1e9 for tokens, read in zip(decodes, reads, strict=True)]),
        prefill_of_int8=median([tokens * work / rate / 1e9 for tokens, rate in zip(prefills, int8, strict=True)])
        if int8
        else None,
    )
