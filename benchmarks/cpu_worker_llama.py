"""llama.cpp's worker, through the C interface that llama-cpp-python ships (its Python class would add its own time).

`--quantize TYPE IN OUT` is llama.cpp's own quantiser. llama.cpp does not apply this model's window: it attends to everything.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp as lib
import numpy as np
from cpu_protocol import serve

_LONGEST = 16_384
_ROOM = 256  # tokens of one sequence in a batch, and behind the deepest depth
_SEQUENCES = 16
_TYPES = {"q4_0": lib.LLAMA_FTYPE_MOSTLY_Q4_0, "q8_0": lib.LLAMA_FTYPE_MOSTLY_Q8_0, "q4_k_m": lib.LLAMA_FTYPE_MOSTLY_Q4_K_M}
_EMBEDDING_BITS = {"q4_0": 4.5, "q8_0": 8.5, "q4_k_m": 4.5}

Entry = tuple[int, int, int, bool]  # id, position, sequence, whether its logits are wanted


class Context:
    """A model's context of `sequences` caches of `length` tokens, and the batch that its forwards are packed in."""

    def __init__(self, model: Any, threads: int, sequences: int, length: int, flash: bool) -> None:
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = sequences * length, sequences, False
        params.n_batch = params.n_ubatch = 512
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = 1 if flash else 0
        params.offload_kqv = False
        self.pointer = lib.llama_init_from_model(model, params)
        if not self.pointer:
            raise RuntimeError("llama.cpp made no context")
        self.memory = lib.llama_get_memory(self.pointer)
        self.batch = lib.llama_batch_init(512, 0, 1)
        self.vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def clear(self) -> None:
        lib.llama_memory_clear(self.memory, False)

    def forward(self, entries: Sequence[Entry]) -> None:
        """At most 512 tokens."""
        batch = self.batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = sequence
        status = lib.llama_decode(self.pointer, batch)
        if status:
            raise RuntimeError(f"llama_decode answered {status}")

    def greedy(self, row: int) -> int:
        """The likeliest id after the row of the last batch; this waits for the forward to end."""
        logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(self.pointer, row), (self.vocabulary,))
        return int(logits.argmax())


class LlamaCpp:
    """One model; one context for a single sequence, another for batches."""

    def __init__(self, file: Path, threads: int, states: Path, flash: bool) -> None:
        lib.llama_backend_init()
        self.model = lib.llama_model_load_from_file(str(file).encode(), lib.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {file}")
        self.file, self.threads, self.states, self.flash = file, threads, states, flash
        self.single = Context(self.model, threads, 1, _LONGEST + _ROOM, flash)
        self.many: Context | None = None
        self.held = -1  # the depth whose state `single` has
        self.chance = random.Random(0)

    def about(self) -> dict[str, Any]:
        table = self.single.vocabulary * lib.llama_model_n_embd(self.model) * _EMBEDDING_BITS[self.file.stem] / 8
        return {
            "llama_cpp_python": lib.__version__,
            "features": lib.llama_print_system_info().decode().strip(),
            "read_bytes": int(lib.llama_model_size(self.model) - table),
            "flash_attention": self.flash,
        }

    def prefill(self, tokens: int) -> dict[str, Any]:
        context, ids = self.single, self._ids(tokens)
        self.held = -1
        context.clear()
        marks, started = [], time.perf_counter()
        for start in range(0, tokens, 512):
            part = ids[start : start + 512]
            end = start + len(part)
            context.forward([(id, start + i, 0, start + i == tokens - 1) for i, id in enumerate(part)])
            marks.append([end, time.perf_counter() - started])
        context.greedy(len(part) - 1)
        return {"seconds": time.perf_counter() - started, "tokens": tokens, "marks": marks}

    def decode(self, depth: int, tokens: int) -> dict[str, Any]:
        self._restore(depth)
        context = self.single
        id = self._step(context, self._ids(1)[0], depth)
        started = time.perf_counter()
        for step in range(tokens):
            id = self._step(context, id, depth + 1 + step)
        seconds = time.perf_counter() - started
        lib.llama_memory_seq_rm(context.memory, 0, depth, -1)
        return {"seconds": seconds, "tokens": tokens}

    def _step(self, context: Context, id: int, position: int) -> int:
        context.forward([(id, position, 0, True)])
        return context.greedy(0)

    def batch(self, size: int, prompt: int, tokens: int) -> dict[str, Any]:
        if self.many is None:
            self.many = Context(self.model, self.threads, _SEQUENCES, _ROOM, self.flash)
        context = self.many
        context.clear()
        for sequence in range(size):
            context.forward([(id, i, sequence, False) for i, id in enumerate(self._ids(prompt))])
        ids = self._ids(size)
        seconds = 0.0
        for step in range(tokens + 1):
            started = time.perf_counter()
            context.forward([(id, prompt + step, sequence, True) for sequence, id in enumerate(ids)])
            ids = [context.greedy(row) for row in range(size)]
            seconds += (time.perf_counter() - started) * (step > 0)  # the first step warms up
        return {"seconds": seconds, "tokens": size * tokens}

    def rows(self, rows: int, forwards: int) -> dict[str, Any]:
        context = self.single
        self.held = -1
        context.clear()
        self._step(context, self._ids(1)[0], 0)
        batches = [[(id, 1 + step * rows + i, 0, True) for i, id in enumerate(self._ids(rows))] for step in range(forwards)]
        started = time.perf_counter()
        for entries in batches:
            context.forward(entries)
            context.greedy(rows - 1)
        return {"seconds": time.perf_counter() - started, "tokens": rows * forwards}

    def _restore(self, depth: int) -> None:
        """Let `single` hold `depth` tokens: as it does already, from disk, or computed and then kept there."""
        if self.held == depth:
            return
        context = self.single
        context.clear()
        file, room = self.states / f"{self.file.stem}-{depth}.state", (lib.llama_token * _LONGEST)()
        count = ctypes.c_size_t()
        if not depth:
            pass
        elif file.exists():
            if not lib.llama_state_seq_load_file(context.pointer, str(file).encode(), 0, room, _LONGEST, ctypes.byref(count)):
                raise RuntimeError(f"llama.cpp cannot read {file}; delete it")
        else:
            self.prefill(depth)
            lib.llama_state_seq_save_file(context.pointer, str(file).encode(), 0, room, 0)
        self.held = depth

    def _ids(self, count: int) -> list[int]:
        return [self.chance.randrange(3, self.single.vocabulary) for _ in range(count)]


def quantize(kind: str, source: str, target: str, threads: int) -> None:
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.nthread = _TYPES[kind], threads
    if lib.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)):
        raise SystemExit(f"llama.cpp cannot quantise {source}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quantize", nargs=3, metavar=("TYPE", "IN", "OUT"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--states", type=Path)
    parser.add_argument("--no-flash", action="store_true")
    args = parser.parse_args()
    if args.quantize:
        quantize(*args.quantize, args.threads)
        return
    worker = LlamaCpp(args.model, args.threads, args.states, not args.no_flash)
    serve({name: getattr(worker, name) for name in ("about", "prefill", "decode", "batch", "rows")})


if __name__ == "__main__":
    main()
