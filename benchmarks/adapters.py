"""What adapters cost when they are served: a batch of which each sequence goes through another adapter, beside the same batch
through the base alone, interleaved in one run.

    python benchmarks/adapters.py --model ./made-up-int4 --rank 16 --batch 4 16 --rounds 5 --json

Made-up adapters on every projection. Of a batch of four, one goes through the base and three through an adapter each, and so on.
Tokens a second of decoding, ratios as median (least, most) over the rounds. `--model tiny` needs nothing else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from cpu_report import spread

from mistral7b import LLM, SamplingParams
from mistral7b.checkpoint.adapter import Adapter
from mistral7b.checkpoint.adapters import write_adapter
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.model.lora import LoraSpec, new_adapter_weight
from mistral7b.store.names import resolve

NAMES = (None, "first", "second", "third")


def made_up(config: ModelConfig, rank: int, seed: int, dtype: torch.dtype) -> Adapter:
    """An adapter of random numbers."""
    spec, shapes, weights = LoraSpec(rank, 2.0 * rank), expected_shapes(config), dict[str, torch.Tensor]()
    for place in spec.places(config.n_layers):
        outputs, inputs = shapes[f"{place}.weight"]
        generator = torch.Generator().manual_seed(seed)
        weights[f"{place}.lora_A.weight"] = new_adapter_weight(f"{place}.lora_A.weight", (rank, inputs), seed).to(dtype)
        weights[f"{place}.lora_B.weight"] = (torch.randn(outputs, rank, generator=generator) * 0.01).to(dtype)
    return Adapter(config, weights, dict.fromkeys(spec.places(config.n_layers), spec.scale))


def speed(llm: LLM, batch: int, tokens: int, *, adapted: bool) -> float:
    """Tokens a second of `batch` sequences, from after their prompts on."""
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True)
    completions = []
    for i in range(batch):
        completions += llm.prepare([1, 1000 + i, 1100 + i, 1200 + i], params, adapter=NAMES[i % 4] if adapted else None)
    for completion in completions:
        llm.engine.add(completion.request)
    llm.engine.step()
    started = time.perf_counter()
    while not llm.engine.idle:
        llm.engine.step()
    return batch * (tokens - 1) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of the adapters")
    parser.add_argument("--batch", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    config = open_checkpoint(resolve(args.model), force=True).config
    with tempfile.TemporaryDirectory() as folder:
        adapters = {name: Path(folder) / name for name in NAMES if name is not None}
        for seed, path in enumerate(adapters.values()):
            write_adapter(made_up(config, args.rank, seed, getattr(torch, args.dtype)), path, "peft")
        llm = LLM(
            args.model, adapters=adapters, max_model_len=args.tokens + 8, max_num_seqs=max(args.batch), speculative=False,
            enable_prefix_caching=False, force=True,
        )  # fmt: skip
        found = {}
        for batch in args.batch:
            for adapted in (False, True):
                speed(llm, batch, 4, adapted=adapted)
            rounds = [[speed(llm, batch, args.tokens, adapted=adapted) for adapted in (False, True)] for _ in range(args.rounds)]
            found[f"batch {batch}"] = {
                "base, tok/s": spread([base for base, _ in rounds]),
                "base and three adapters, tok/s": spread([mixed for _, mixed in rounds]),
                "ratio": spread([mixed / base for base, mixed in rounds]),
            }
    if args.json:
        print(json.dumps(found))
    else:
        for name, figures in found.items():
            print(name, *(f"{what} {value}" for what, value in figures.items()), sep="\n  ")


if __name__ == "__main__":
    main()
