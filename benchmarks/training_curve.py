"""transformers' MistralForCausalLM trained on the batches of one of our runs, its loss beside ours.

    python benchmarks/training_curve.py recipes/tiny/pretrain.yaml --set RUN=runs/tiny --steps 245 --out curve.json

From the same first weights, with the same optimizer, rates and clipping; `--steps` of a run that has a metrics.jsonl already. In
fp32. transformers is given each micro-batch as one row whose position_ids restart with each document, from which it makes a mask
that keeps documents apart. A run of this script that was stopped goes on from `--out`.pt. `--device cuda` where our run
was on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MistralConfig, MistralForCausalLM

from mistral7b.checkpoint.hf import heads_permuted, hf_name
from mistral7b.checkpoint.layouts import to_half_split
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.data.shards import Shards
from mistral7b.recipe import read_recipe, settings
from mistral7b.train import journal
from mistral7b.train.batches import MicroBatch, course, micro_batches
from mistral7b.train.initial import new_weight
from mistral7b.train.optim import optimizers, set_rates
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Pretrain
from mistral7b.train.schedule import share


def theirs(config: ModelConfig, seed: int) -> MistralForCausalLM:
    """The network with the first weights of our run."""
    made = MistralForCausalLM(MistralConfig(**config.to_hf(max_position_embeddings=4096, dtype="float32")))
    weights = {}
    for name, shape in expected_shapes(config).items():
        weight, heads = new_weight(name, shape, seed), heads_permuted(name, config)
        weights[hf_name(name)] = weight if heads is None else to_half_split(weight, heads)
    made.load_state_dict(weights)
    return made.float().train()


class Named(torch.nn.Module):
    """transformers' weights under our names, for our optimizers' groups."""

    def __init__(self, model: MistralForCausalLM, config: ModelConfig) -> None:
        super().__init__()
        held = dict(model.named_parameters())
        self._ours = {name: held[hf_name(name)] for name in expected_shapes(config)}

    def named_parameters(self, *_: Any, **__: Any) -> Any:
        return iter(self._ours.items())


def loss_of(model: MistralForCausalLM, micro: MicroBatch) -> Tensor:
    """Summed nats of a micro-batch's targets."""
    ids, positions, targets = (x.to(model.device) for x in (micro.batch.ids, micro.batch.positions, micro.targets))
    logits = model(input_ids=ids[None], position_ids=positions[None], use_cache=False).logits[0]
    return F.cross_entropy(logits, targets, ignore_index=-100, reduction="sum")


def step(model: MistralForCausalLM, micros: list[MicroBatch], optims: list[torch.optim.Optimizer], most: float) -> float:
    """One update; the loss before it, nats a token."""
    targets, total = sum(micro.wanted for micro in micros), 0.0
    for micro in micros:
        loss = loss_of(model, micro)
        (loss / targets).backward()
        total += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), most)
    for optimizer in optims:
        optimizer.step()
        optimizer.zero_grad()
    return total / targets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="variables", action="append", default=[])
    parser.add_argument("--steps", type=int, default=245)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    recipe = read_recipe(args.recipe, Pretrain, settings(args.variables))
    assert recipe.model is not None, "a run from new weights"
    rows = course(recipe, Shards.open(recipe.data.shards))
    steps = rows.steps(recipe.rows)
    ours = {line["step"]: line["loss"] for line in journal.read(recipe.run / journal.METRICS) if "loss" in line}
    model = theirs(recipe.model, recipe.seed).to(args.device)  # type: ignore[arg-type]
    optims = optimizers(Named(model, recipe.model), recipe.optimizer)
    kept, found = args.out.with_suffix(".pt"), list[dict[str, float]]()
    if kept.exists():
        state = torch.load(kept, weights_only=True, map_location=args.device)
        model.load_state_dict(state["model"])
        for optimizer, held in zip(optims, state["optims"], strict=True):
            optimizer.load_state_dict(held)
        found = state["found"]
    for number in range(len(found), min(args.steps, max(ours))):
        started = time.perf_counter()
        set_rates(optims, share(recipe.schedule, number, steps))
        micros = micro_batches(rows, number, recipe.rows, recipe.micro_batch_rows, Ranks(0, 1, torch.device("cpu")))
        loss = step(model, micros, optims, recipe.optimizer.clip)
        found.append({"step": number + 1, "ours": ours[number + 1], "transformers": loss, "s": time.perf_counter() - started})
        if (number + 1) % 10 == 0:
            print(json.dumps(found[-1]), flush=True)
            torch.save({"model": model.state_dict(), "optims": [each.state_dict() for each in optims], "found": found}, kept)
    apart = [abs(each["ours"] - each["transformers"]) for each in found]
    told = {
        "steps": len(found), "tokens": len(found) * recipe.batch_tokens, "largest_difference": max(apart),
        "median_difference": statistics.median(apart), "last": found[-1], "curve": found,
    }  # fmt: skip
    args.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps({key: value for key, value in told.items() if key != "curve"}))


if __name__ == "__main__":
    main()
