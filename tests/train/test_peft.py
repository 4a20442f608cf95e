"""LoRA beside peft's on transformers' model: the same weights, adapters, batches and optimizer give the same losses."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mistral7b.config import ModelConfig
from mistral7b.data.pack import IGNORED
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.lora import LoraSpec, adapter_weights, add_adapter
from mistral7b.model.transformer import Transformer
from mistral7b.train.adapted import adapter_only
from mistral7b.train.batches import MicroBatch
from mistral7b.train.finetune_recipe import FinetuneOptimizer
from mistral7b.train.loop import Norms, training_step
from mistral7b.train.optim import optimizers
from mistral7b.train.recipe import Spikes
from mistral7b.train.trainee import Trainee
from mistral7b.train.watchdog import Watchdog
from tests.checkpoint.made import in_hf
from tests.equivalence.networks import network, random_ids, small, weights
from tests.train.made import ALONE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # their own imports
    from peft import LoraConfig, get_peft_model
    from transformers import MistralConfig, MistralForCausalLM

log = logging.getLogger(__name__)
STEPS, ROWS, LENGTH = 30, 4, 40
SPEC = LoraSpec(rank=4, alpha=8.0)
OPTIMIZER = FinetuneOptimizer(rate=5e-3, weight_decay=0.01)
NAMES = {"wq": "self_attn.q_proj", "wk": "self_attn.k_proj", "wv": "self_attn.v_proj", "wo": "self_attn.o_proj"} | {
    "w1": "mlp.gate_proj", "w2": "mlp.down_proj", "w3": "mlp.up_proj",
}  # fmt: skip


def _config() -> ModelConfig:
    return small(dim=64, n_layers=2, n_heads=8, n_kv_heads=2, vocab_size=500, sliding_window=16)


def _batches() -> list[tuple[list[list[int]], Tensor]]:
    """For each step: rows of ids, and the targets `[rows, length]`, of which only later ones are learned."""
    found = []
    for step in range(STEPS):
        rows = [random_ids(LENGTH, vocab=60, seed=1000 + step % 5 * ROWS + i) for i in range(ROWS)]
        targets = torch.tensor(rows).roll(-1, 1)
        targets[:, -1] = IGNORED
        targets[:, : 5 + step % 7] = IGNORED
        found.append((rows, targets))
    return found


def _ours(model: Transformer) -> list[float]:
    trainee, losses = Trainee(model), []
    optims = optimizers(adapter_only(model), OPTIMIZER)
    for rows, targets in _batches():
        micros = [
            MicroBatch(TokenBatch.pack([Span(row, logits="none")]), aims, int((aims >= 0).sum()))
            for row, aims in zip(rows, targets, strict=True)
        ]
        losses.append(
            training_step(
                trainee, micros, optims, ALONE, precision="fp32", clip_at=1.0, spikes=Spikes(factor=1e9), norms=Norms(),
                watchdog=Watchdog(ALONE, 60),
            ).loss
        )  # fmt: skip
    return losses


def _theirs(model: Transformer) -> list[float]:
    """peft's losses, from the base and the first adapter of `model`."""
    base = {name.replace(".base.", "."): weight for name, weight in weights(model).items() if "lora_" not in name}
    plain: Any = MistralForCausalLM(MistralConfig(**model.config.to_hf(max_position_embeddings=512, dtype="float32")))
    plain.load_state_dict(in_hf(base, model.config))
    targets = [name.split(".")[1] for name in NAMES.values()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        adapted: Any = get_peft_model(plain, LoraConfig(r=SPEC.rank, lora_alpha=int(SPEC.alpha), target_modules=targets))
    named = dict(adapted.named_parameters())
    for name, weight in adapter_weights(model, 0).items():
        _, layer, _, target, kind, _ = name.split(".")
        with torch.no_grad():  # B is zero, and in whose rows zeros stand is one
            named[f"base_model.model.model.layers.{layer}.{NAMES[target]}.{kind}.default.weight"].copy_(weight)
    trained = [weight for weight in adapted.parameters() if weight.requires_grad]
    assert len(trained) == 2 * 7 * model.config.n_layers
    adam = torch.optim.AdamW(
        trained, lr=OPTIMIZER.rate, betas=OPTIMIZER.betas, eps=OPTIMIZER.eps, weight_decay=OPTIMIZER.weight_decay
    )
    losses = []
    for rows, targets in _batches():
        logits = adapted(input_ids=torch.tensor(rows), use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        adam.step()
        adam.zero_grad()
        losses.append(loss.item())
    return losses


def test_thirty_steps_give_the_losses_of_peft() -> None:
    model = network(_config(), kernels=TrainingKernels())
    add_adapter(model, SPEC, seed=3)
    theirs = _theirs(model)
    ours = _ours(model)
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    log.info("losses from %.3f to %.3f, apart by %.2g", ours[0], ours[-1], apart)
    assert ours[-1] < ours[0] - 0.5
    assert apart < 1e-4
