"""transformers' worker: MistralForCausalLM in bf16 with its own cache, which applies the window."""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from cpu_protocol import serve
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache


class Transformers:
    """One model; the caches of depths already filled stay in memory (a window of 8 layers: 134 MB)."""

    def __init__(self, folder: Path, threads: int, chunk: int) -> None:
        torch.set_num_threads(threads)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
        self.chunk = chunk
        self.filled: dict[int, Any] = {}
        self.chance = torch.Generator().manual_seed(0)

    def about(self) -> dict[str, Any]:
        weights = sum(each.nbytes for name, each in self.model.named_parameters() if "embed_tokens" not in name)
        return {"transformers": transformers.__version__, "torch": torch.__version__, "read_bytes": weights}

    def prefill(self, tokens: int) -> dict[str, Any]:
        return self._prefill(tokens, self._cache())

    def decode(self, depth: int, tokens: int) -> dict[str, Any]:
        if depth not in self.filled:
            self.filled[depth] = self._cache()
            if depth:
                self._prefill(depth, self.filled[depth])
        return self._decode(self._ids(1, 1), copy.deepcopy(self.filled[depth]), tokens)

    def batch(self, size: int, prompt: int, tokens: int) -> dict[str, Any]:
        cache = self._cache()
        return self._decode(self._forward(self._ids(size, prompt), cache), cache, tokens)

    def rows(self, rows: int, forwards: int) -> dict[str, Any]:
        cache = self._cache()
        self._forward(self._ids(1, 1), cache)
        started = time.perf_counter()
        for _ in range(forwards):
            self._forward(self._ids(1, rows), cache, rows)
        return {"seconds": time.perf_counter() - started, "tokens": rows * forwards}

    def _prefill(self, tokens: int, cache: Any) -> dict[str, Any]:
        marks, started = [], time.perf_counter()
        for start in range(0, tokens, self.chunk):
            end = min(start + self.chunk, tokens)
            self._forward(self._ids(1, end - start), cache)
            marks.append([end, time.perf_counter() - started])
        return {"seconds": marks[-1][1], "tokens": tokens, "marks": marks}

    def _decode(self, ids: Tensor, cache: Any, tokens: int) -> dict[str, Any]:
        ids = self._forward(ids, cache)
        started = time.perf_counter()
        for _ in range(tokens):
            ids = self._forward(ids, cache)
        return {"seconds": time.perf_counter() - started, "tokens": tokens * len(ids)}

    @torch.inference_mode()
    def _forward(self, ids: Tensor, cache: Any, logits: int = 1) -> Tensor:
        """Greedy next ids `[sequences, 1]` after `ids` `[sequences, n]`."""
        found = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=logits)
        return found.logits[:, -1:].argmax(-1)

    def _cache(self) -> Any:
        return DynamicCache(config=self.model.config)

    def _ids(self, size: int, length: int) -> Tensor:
        return torch.randint(3, self.model.config.vocab_size, (size, length), generator=self.chance)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--states", type=Path)
    parser.add_argument("--chunk", type=int, default=2048)
    args = parser.parse_args()
    worker = Transformers(args.model, args.threads, args.chunk)
    serve({name: getattr(worker, name) for name in ("about", "prefill", "decode", "batch", "rows")})


if __name__ == "__main__":
    main()
