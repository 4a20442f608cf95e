"""OpenVINO's worker: a model that optimum-intel exported, run through OpenVINO's own API. Its environment runs this file.

The head runs over the last row of a prompt only, as in openvino-genai (the export itself would compute logits for all rows).
`--export HF OUT` writes the model that the worker reads.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino.opset15 as ops
from cpu_protocol import serve


class OpenVino:
    """One compiled model and one request; the cache is the request's state."""

    def __init__(self, folder: Path, threads: int, chunk: int, states: Path) -> None:
        core = ov.Core()
        model = core.read_model(folder / "openvino_model.xml")
        _head_of_last_rows(model)
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self.compiled = core.compile_model(model, "CPU", settings)
        self.request = self.compiled.create_infer_request()
        config = json.loads((folder / "config.json").read_text())
        self.vocabulary = config["vocab_size"]
        # NNCF leaves the embedding at 8 bits a number, and a token touches one row of it.
        self.read_bytes = (folder / "openvino_model.bin").stat().st_size - self.vocabulary * config["hidden_size"]
        self.chunk, self.states = chunk, states
        self.chance = np.random.default_rng(0)

    def about(self) -> dict[str, Any]:
        names = ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION", "DYNAMIC_QUANTIZATION_GROUP_SIZE")
        found = {name.lower(): str(self.compiled.get_property(name)) for name in names}
        return {"openvino": ov.__version__, "read_bytes": self.read_bytes, **found}

    def prefill(self, tokens: int) -> dict[str, Any]:
        self.request.reset_state()
        marks, started = [], time.perf_counter()
        for start in range(0, tokens, self.chunk):
            end = min(start + self.chunk, tokens)
            self._forward(self._ids(1, end - start), start)
            marks.append([end, time.perf_counter() - started])
        return {"seconds": marks[-1][1], "tokens": tokens, "marks": marks}

    def decode(self, depth: int, tokens: int) -> dict[str, Any]:
        self._restore(depth)
        return self._decode(self._ids(1, 1), depth, tokens)

    def batch(self, size: int, prompt: int, tokens: int) -> dict[str, Any]:
        self.request.reset_state()
        first = self._forward(self._ids(size, prompt), 0)
        return self._decode(first, prompt, tokens)

    def rows(self, rows: int, forwards: int) -> dict[str, Any]:
        """Without logits for every row: the head sees the last one only."""
        self.request.reset_state()
        self._forward(self._ids(1, 1), 0)
        started = time.perf_counter()
        for step in range(forwards):
            self._forward(self._ids(1, rows), 1 + step * rows)
        return {"seconds": time.perf_counter() - started, "tokens": rows * forwards}

    def _decode(self, ids: np.ndarray, depth: int, tokens: int) -> dict[str, Any]:
        ids = self._forward(ids, depth)
        started = time.perf_counter()
        for step in range(tokens):
            ids = self._forward(ids, depth + 1 + step)
        return {"seconds": time.perf_counter() - started, "tokens": tokens * len(ids)}

    def _forward(self, ids: np.ndarray, start: int) -> np.ndarray:
        """Greedy next ids `[sequences, 1]` after `ids` `[sequences, n]` at positions `start` and on."""
        size, length = ids.shape
        found = self.request.infer(
            {
                "input_ids": ids,
                "attention_mask": np.ones((size, start + length), dtype=np.int64),
                "position_ids": np.tile(np.arange(start, start + length), (size, 1)),
                "beam_idx": np.arange(size, dtype=np.int32),
            },
            share_inputs=True, share_outputs=True,
        )  # fmt: skip
        return found[0][:, -1].argmax(-1)[:, None]

    def _restore(self, depth: int) -> None:
        """The state after `depth` tokens, from disk if it was there before."""
        self.request.reset_state()
        if not depth:
            return
        file = self.states / f"openvino-{depth}.npz"
        if not file.exists():
            self.prefill(depth)
            np.savez(file, **{state.name: np.array(state.state.data) for state in self.request.query_state()})
            return
        with np.load(file) as kept:
            for state in self.request.query_state():
                state.state = ov.Tensor(kept[state.name])

    def _ids(self, size: int, length: int) -> np.ndarray:
        return self.chance.integers(3, self.vocabulary, (size, length))


def _head_of_last_rows(model: ov.Model) -> None:
    """Put a slice of the last position before the product that makes the logits."""
    node = model.get_results()[0].input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    last = (np.array([each], dtype=np.int64) for each in (-1, np.iinfo(np.int64).max, 1, 1))
    node.input(0).replace_source_output(ops.slice(node.input_value(0), *last).output(0))
    model.validate_nodes_and_infer_types()


def export(source: Path, target: Path) -> None:
    form = ("--weight-format", "int4", "--sym", "--group-size", "32", "--ratio", "1.0")
    tool = Path(sys.executable).with_name("optimum-cli")
    command = (tool, "export", "openvino", "-m", source, "--task", "text-generation-with-past", *form, target)
    subprocess.run(list(map(str, command)), check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--export", nargs=2, type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--states", type=Path)
    parser.add_argument("--chunk", type=int, default=2048)
    args = parser.parse_args()
    if args.export:
        export(*args.export)
        return
    worker = OpenVino(args.model, args.threads, args.chunk, args.states)
    serve({name: getattr(worker, name) for name in ("about", "prefill", "decode", "batch", "rows")})


if __name__ == "__main__":
    main()
