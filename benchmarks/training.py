"""A training step of the `tiny` shape beside transformers' MistralForCausalLM: tokens a second and peak memory.

    python benchmarks/training.py --rounds 7 --threads 2 --json

A step is forward, backward, clipping at 1.0 and AdamW, on rows of 2,048 tokens packed with made-up documents, or those of
`--shards`; the weights, the ids, the positions and the targets are the same on both sides, and so is the loss (checked).
Systems take turns within a round, in an order that turns too; ratios are taken within a round and given as median (least, most).
`--cpu-time` counts the process' processor time on one thread: steadier on a machine with other work.

transformers gets positions that restart with each document and no attention mask: then (without a cache) it builds a dense mask
rows x 1 x T x T that keeps documents apart and cuts the window, so both compute the same function. Its variants: eager and sdpa
attention in fp32, sdpa under bf16 autocast, sdpa compiled. Targets go in as `shift_labels`; its loss is over all logits at once.

Memory is measured in a process of its own for each system, after `--steps` steps: VmHWM, the whole process; and the rise, that is
VmHWM less the resident memory before the model was made, less weights and moments (12 bytes a parameter), which both must hold.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attention_kernels import spread

from mistral7b.checkpoint.hf import heads_permuted, hf_name
from mistral7b.checkpoint.layouts import to_half_split
from mistral7b.config import ModelConfig
from mistral7b.data.pack import IGNORED, Row
from mistral7b.train.batches import MicroBatch, micro_batch
from mistral7b.train.initial import fill
from mistral7b.train.loop import Norms, training_step
from mistral7b.train.optim import optimizers
from mistral7b.train.pretrain import build
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Data, Optimizer, Parallel, Pretrain, Spikes
from mistral7b.train.watchdog import Watchdog

TINY = ModelConfig(
    dim=256, n_layers=8, head_dim=32, hidden_dim=896, n_heads=8, n_kv_heads=2, norm_eps=1e-5, vocab_size=8192,
    rope_theta=10_000.0, sliding_window=512,
)  # fmt: skip
RATE = 3e-4
OURS = ("ours", "ours, recompute", "ours, compiled")
THEIRS = ("eager", "sdpa", "sdpa, bf16 autocast", "sdpa, compiled")
STANDARD = ("ours", *THEIRS)
ALONE = Ranks(0, 1, torch.device("cpu"))

Step = Callable[[int], float]  # the number of a batch -> its loss in nats a token


def made_up(rows: int, length: int, mean: int, seed: int) -> list[Row]:
    """Rows packed with documents whose lengths are spread as those of real text: log-normal, with this mean; 0: one a row."""
    dice = random.Random(seed)
    found = []
    for _ in range(rows):
        borders = [0]
        while borders[-1] < length:
            drawn = length if mean == 0 else max(8, int(dice.lognormvariate(math.log(mean) - 0.32, 0.8)))
            borders.append(min(length, borders[-1] + drawn))
        ids = np.random.default_rng(dice.randrange(1 << 30)).integers(1027, TINY.vocab_size, length + 1)
        targets = ids[1:].copy()
        targets[np.array(borders[1:]) - 1] = IGNORED
        found.append(Row(ids[:-1], targets, np.array(borders)))
    return found


def batches(args: argparse.Namespace, count: int) -> list[MicroBatch]:
    """The same micro-batches for every system."""
    if args.shards is None:
        rows = made_up(count * args.rows, args.length, args.mean, 1)
    else:
        from mistral7b.data.pack import Mixture
        from mistral7b.data.shards import Shards

        mixture = Mixture(Shards.open(args.shards), "train", None, args.length, 1)
        rows = [mixture.row(i) for i in range(count * args.rows)]
    return [micro_batch(rows[i : i + args.rows]) for i in range(0, len(rows), args.rows)]


def ours(name: str, given: Sequence[MicroBatch], rows: int, length: int) -> Step:
    """This package's own step, as `pretrain` runs it."""
    parallel = Parallel(recompute=name.endswith("recompute"), compile=name.endswith("compiled"))
    recipe = Pretrain(
        run=Path(), data=Data(shards=Path(), length=length), batch_tokens=rows * length, micro_batch_rows=rows, model=TINY,
        precision="fp32", parallel=parallel, optimizer=Optimizer(rate=RATE),
    )  # fmt: skip
    trainee = build(TINY, recipe, ALONE)
    fill(trainee.model, None, 1)
    optims = optimizers(trainee.model, recipe.optimizer)
    watchdog, norms = Watchdog(ALONE, 600), Norms()

    def step(i: int) -> float:
        return training_step(
            trainee, [given[i % len(given)]], optims, ALONE, precision="fp32", clip_at=1.0, spikes=Spikes(factor=1e9),
            norms=norms, watchdog=watchdog,
        ).loss  # fmt: skip

    return step


def theirs(name: str, given: Sequence[MicroBatch], rows: int, length: int) -> Step:
    """transformers, with the weights that ours begins with."""
    from transformers import MistralConfig, MistralForCausalLM

    attention, _, extra = name.partition(", ")
    settings = TINY.to_hf(max_position_embeddings=length, dtype="float32") | {"attn_implementation": attention}
    model: Any = MistralForCausalLM(MistralConfig(**settings | {"use_cache": False}))
    recipe = Pretrain(
        run=Path(), data=Data(shards=Path(), length=length), batch_tokens=rows * length, model=TINY, precision="fp32"
    )
    start = build(TINY, recipe, ALONE).model
    fill(start, None, 1)
    renamed = {}
    for key, weight in start.state_dict().items():
        heads = heads_permuted(key, TINY)
        renamed[hf_name(key)] = weight if heads is None else to_half_split(weight, heads)
    model.load_state_dict(renamed)
    del start, renamed
    model.train()
    matrices = [w for w in model.parameters() if w.dim() == 2]
    norms = [w for w in model.parameters() if w.dim() == 1]
    adam = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}], lr=RATE, betas=(0.9, 0.95), eps=1e-5,
        fused=True,
    )  # fmt: skip
    run = torch.compile(model) if extra == "compiled" else model
    context = torch.autocast("cpu", torch.bfloat16) if extra == "bf16 autocast" else nullcontext()

    def step(i: int) -> float:
        micro = given[i % len(given)]
        ids, positions, targets = (x.view(rows, length) for x in (micro.batch.ids, micro.batch.positions, micro.targets))
        with context:
            # labels only ask for a loss; shift_labels are what it takes
            loss = run(
                input_ids=ids, position_ids=positions, labels=targets, shift_labels=targets, num_items_in_batch=micro.wanted,
                use_cache=False,
            ).loss  # fmt: skip
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        return float(loss.item())

    return step


def system(name: str, given: Sequence[MicroBatch], args: argparse.Namespace) -> Step:
    return (ours if name in OURS else theirs)(name, given, args.rows, args.length)


def resident(key: str) -> int:
    """Bytes: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":"))


def own_memory(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Of this process, after some steps of one system."""
    given = batches(args, 2)
    if name in THEIRS:
        import transformers.models.mistral.modeling_mistral  # noqa: F401
    gc.collect()
    before = resident("VmRSS")
    step = system(name, given, args)
    for i in range(args.steps):
        step(i)
    peak = resident("VmHWM")
    return {"peak": peak, "rise": peak - before - 12 * TINY.n_params, "before": before}


def memory(names: Sequence[str], argv: Sequence[str]) -> dict[str, dict[str, float]]:
    """Each in a process of its own."""
    found = {}
    for name in names:
        done = subprocess.run([sys.executable, __file__, *argv, "--memory-of", name], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        else:
            found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def speeds(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds a step by system, one for each round; the first two rounds warm up."""
    clock = time.process_time if args.cpu_time else time.perf_counter
    given = batches(args, 4)
    steps: dict[str, Step] = {}
    for name in args.systems:
        steps[name] = system(name, given, args)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, list[float]] = {name: [] for name in steps}
    for r in range(args.rounds + 2):
        names = list(steps)
        for name in names[r % len(names) :] + names[: r % len(names)]:
            began = clock()
            losses[name].append(steps[name](r))
            seconds[name].append(clock() - began)
    for name, each in losses.items():
        apart = max(abs(a - b) for a, b in zip(each, losses["ours"], strict=True))
        print(f"{name}: losses within {apart:.1e} of ours, {each[0]:.5f} to {each[-1]:.5f}", file=sys.stderr)
    return {name: each[2:] for name, each in seconds.items()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(STANDARD), choices=[*OURS, *THEIRS])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=2, help="rows of a micro-batch")
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--mean", type=int, default=300, help="mean tokens of a made-up document; 0: one document a row")
    parser.add_argument("--shards", type=Path, default=None, help="a folder of token shards, for real documents")
    parser.add_argument("--steps", type=int, default=4, help="steps before memory is read")
    parser.add_argument("--only", choices=["speed", "memory"], default=None)
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1 if args.cpu_time else args.threads)
    if args.memory_of:
        print(json.dumps(own_memory(args.memory_of, args)))
        return
    if "ours" not in args.systems:
        parser.error("the ratios want ours among the systems")
    found: dict[str, Any] = {}
    tokens = args.rows * args.length
    if args.only != "memory":
        took = speeds(args)
        best = min((name for name in took if name in THEIRS), key=lambda name: statistics.median(took[name]), default=None)
        found["best of theirs"] = best
        for name, each in took.items():
            found[f"tokens/s, {name}"] = spread([tokens / s for s in each])
            found[f"speed, ours / {name}"] = spread([b / a for a, b in zip(took["ours"], each, strict=True)])
    if args.only != "speed":
        held = memory(args.systems, list(argv if argv is not None else sys.argv[1:]))
        for name, each in held.items():
            found[f"memory, {name}"] = each
            found[f"memory, ours / {name}"] = {key: held["ours"][key] / each[key] for key in ("peak", "rise")}
    if args.json:
        print(json.dumps({**vars(args), "shards": str(args.shards), "found": found}))
        return
    for name, each in found.items():
        if name.startswith("memory, ours /"):
            print(f"{name:<40} peak {each['peak']:.3f}, rise {each['rise']:.3f}")
        elif name.startswith("memory"):
            print(f"{name:<40} peak {each['peak'] / 2**20:,.0f} MiB, rise {each['rise'] / 2**20:,.0f} MiB")
        elif isinstance(each, dict):
            print(f"{name:<40} {each['median']:10,.3f} ({each['least']:,.3f}, {each['most']:,.3f})")
        else:
            print(f"{name:<40} {each}")


if __name__ == "__main__":
    main()
