"""How long a quantised 7B takes from the command to its first token with a warm page cache, each start a process of its own.

    python benchmarks/first_token.py --folder ./made-up-int4 --rounds 5 --json

Makes the folder if it is not there: v0.1's shape with made-up int4 weights and an int5 head (4.1 GB for 32 layers), no tokenizer.
`mistral7b generate --ids` is asked for one token: command_s is that command from its start to its end, load_s and first_token_s
its parts. Asked for --tokens it tells decode_tok_s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from cpu_report import spread

from mistral7b.bench.made import network
from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.configs import HF
from mistral7b.checkpoint.quantized_write import QuantizedWriter
from mistral7b.checkpoint.write import write_json
from mistral7b.kernels.native_room import NativeKernels
from mistral7b.quant.linear import QuantLinear
from mistral7b.variants import V01

IDS = "1,5183,304,264,727"


def make(folder: Path, layers: int) -> None:
    """A folder of `layers` layers with made-up weights."""
    config = replace(V01, n_layers=layers)
    model = network("7b", layers, "int4", NativeKernels())
    packed = {f"{name}.weight": each.packed for name, each in model.named_modules() if isinstance(each, QuantLinear)}
    formats = {name: matrix.format for name, matrix in packed.items()}
    needs = sum(matrix.nbytes for matrix in packed.values()) + sum(plain.nbytes for plain in model.parameters())
    with aside(folder, needs=needs, folder=True, force=False) as made:
        write_json(made / HF, config.to_hf(max_position_embeddings=32_768, dtype="bfloat16"))
        with QuantizedWriter(made, config, formats) as writer:
            for name, matrix in packed.items():
                writer.put(name, matrix)
            for name, plain in model.named_parameters():
                writer.put(name, plain)


def run(folder: Path, tokens: int) -> tuple[float, dict[str, float]]:
    """Seconds of one command from its start to its end, and its own timing."""
    asked = ["generate", "--ids", IDS, "-m", str(folder), "-n", str(tokens), "--greedy", "--json", "--force", "--quiet"]
    started = time.perf_counter()
    answer = subprocess.run([sys.executable, "-m", "mistral7b", *asked], check=True, capture_output=True, text=True)
    return time.perf_counter() - started, json.loads(answer.stdout)["timing"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=33)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if not asked.folder.exists():
        make(asked.folder, asked.layers)
    run(asked.folder, 1)  # the page cache is warm from here on
    seconds: dict[str, list[float]] = {"command_s": [], "load_s": [], "first_token_s": [], "decode_tok_s": []}
    for _ in range(asked.rounds):
        whole, timing = run(asked.folder, 1)
        seconds["command_s"].append(whole)
        seconds["load_s"].append(timing["load_s"])
        seconds["first_token_s"].append(timing["first_token_s"])
        seconds["decode_tok_s"].append(run(asked.folder, asked.tokens)[1]["tokens_per_s"])
    found = {name: spread(values) for name, values in seconds.items()}
    if asked.json:
        print(json.dumps(found))
        return
    for name, each in found.items():
        assert each is not None, "there was a round"
        print(f"{name:14} {each['median']:.2f} ({each['least']:.2f}, {each['most']:.2f})")


if __name__ == "__main__":
    main()
