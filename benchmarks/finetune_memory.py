"""The memory that a fine-tune's plan reckons with, beside what a step takes, on the first layers of the 7B shape.

    python benchmarks/finetune_memory.py --layers 1 --method full lora int4 --length 512 --json

Made-up weights, one row a step, two steps, each method in a process of its own; the peak is the process' (VmHWM), the plan's is
that of a rank on a CPU. `--folder` takes a model folder that is there, such as all 32 layers in int4.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mistral7b.checkpoint.configs import HF
from mistral7b.checkpoint.hf import hf_name
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.checkpoint.write import Row, write_json, write_shards
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train.finetune_plan import make_finetune_plan
from mistral7b.train.finetune_recipe import Examples, Finetune, FinetuneData, Lora
from mistral7b.train.recipe import Evaluate, Parallel
from mistral7b.variants import V01

METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "lora": {"lora": Lora(rank=16)},
    "int4": {"lora": Lora(rank=16), "quantize": "int4"},
    "nf4": {"lora": Lora(rank=16), "quantize": "nf4"},
    "packed": {"lora": Lora(rank=16)},  # of a folder that is quantised
}


def make(folder: Path, layers: int) -> None:
    """A bf16 folder of `layers` layers with made-up weights."""
    config = replace(V01, n_layers=layers)
    folder.mkdir(parents=True)
    write_json(folder / HF, config.to_hf(max_position_embeddings=32_768, dtype="bfloat16"))

    def weight(shape: tuple[int, ...]) -> torch.Tensor:
        return torch.ones(shape, dtype=torch.bfloat16) if len(shape) == 1 else torch.randn(shape).mul_(0.02).bfloat16()

    def row(name: str, shape: tuple[int, ...]) -> Row:
        return Row(hf_name(name), torch.bfloat16, shape, lambda: weight(shape))

    rows = [row(name, shape) for name, shape in expected_shapes(config).items()]
    write_shards(folder, rows, lambda _: None)
    shutil.copyfile(Tokenizer.published("v1").path, folder / "tokenizer.model")


def recipe(method: str, folder: Path, run: Path, length: int, precision: str) -> Finetune:
    """Two steps of one row, each a text of `length` tokens."""
    texts = run.with_suffix(".jsonl")
    texts.write_text("".join(json.dumps({"text": "word " * (length - 3)}) + "\n" for _ in range(2)))
    return Finetune(
        run=run, model=str(folder), data=FinetuneData(train=(Examples(path=texts),), length=length), batch_rows=1,
        precision=precision, parallel=Parallel(recompute=True), evaluate=Evaluate(every=100), **METHODS[method],
    )  # type: ignore[arg-type]  # fmt: skip


def measured(method: str, folder: Path, run: Path, length: int, precision: str) -> dict[str, float]:
    """Of this process: its peak, and seconds a step."""
    from mistral7b.train.finetune import finetune

    class Watcher:
        seconds: list[float] = []  # noqa: RUF012

        def note(self, line: str) -> None: ...

        def step(self, line: dict[str, Any], _: int) -> None:
            self.seconds.append(length / line["tokens_s"])
            print(line, file=sys.stderr)

        def evaluation(self, *_: object) -> None: ...

    finetune(recipe(method, folder, run, length, precision), Watcher(), until=1)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return {"peak": peak, "seconds": Watcher.seconds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--method", nargs="+", choices=sorted(METHODS), default=["full", "lora", "int4"])
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--of", choices=sorted(METHODS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        run = Path(made) / "run"
        if args.of is not None:
            print(json.dumps(measured(args.of, args.folder, run, args.length, args.precision)))
            return
        folder = args.folder or Path(made) / "model"
        if args.folder is None:
            make(folder, args.layers)
        found = {}
        for method in args.method:
            started = time.perf_counter()
            plan = make_finetune_plan(recipe(method, folder, run, args.length, args.precision), 1, "cpu", 0.4, tokens=1)
            command = [sys.executable, __file__, "--of", method, "--folder", str(folder), "--length", str(args.length)]
            done = subprocess.run([*command, "--precision", args.precision], capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            took = json.loads(done.stdout.splitlines()[-1])
            found[method] = {
                "plan, GiB": plan.bytes / 2**30, "peak, GiB": took["peak"] / 2**30, "plan over peak": plan.bytes / took["peak"],
                "seconds a step": took["seconds"], "seconds in all": time.perf_counter() - started,
            }  # fmt: skip
            print(method, found[method], file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
