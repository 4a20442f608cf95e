"""What a fine-tune takes: memory of a rank, what does not fit, time; for all weights as pre-training's plan reckons it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint
from mistral7b.checkpoint.load import weights_bytes
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.config import ModelConfig
from mistral7b.errors import DataError
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.transformer import Transformer
from mistral7b.quant.formats import FORMATS, packed_bytes
from mistral7b.store.names import resolve
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train.adapted import DTYPES, is_packed, spec_of
from mistral7b.train.base import published, tokenizer_of
from mistral7b.train.examples import read_examples
from mistral7b.train.finetune_recipe import Finetune
from mistral7b.train.plan import LOST, Plan, activations, check_layout, known, make_plan, memory, planned
from mistral7b.train.recipe import Data, Pretrain

_NF4_BITS = 4.5  # a scale of fp32 for each 64 weights
_MOMENTS = {"adamw": 8.0, "adamw8bit": 2.1, "paged_adamw8bit": 2.1}  # bytes a weight


def make_finetune_plan(recipe: Finetune, world_size: int, device: str, mfu: float, *, tokens: int | None = None) -> Plan:
    """What the run takes on `world_size` devices; `tokens` replace those of the examples.

    Raises what `make_plan` raises, and DataError for examples that are there and faulty.
    """
    # A published model need not be here to be planned for.
    variant = published(recipe)
    checkpoint = None if variant else open_checkpoint(resolve(recipe.model))
    config = variant.config if variant else checkpoint.config  # type: ignore[union-attr]  # one of them is there
    device, notes, steps = known(device), list[str](), None
    check_layout(recipe.parallel, recipe.batch_rows, "batch_rows are", world_size)
    if tokens is None:
        tokens, steps, notes = _tokens(recipe, tokenizer_of(recipe, checkpoint))
    alike = _alike(recipe, config)
    if recipe.method == "full":
        made = make_plan(alike, world_size, device, mfu, tokens=tokens)
        return replace(made, steps=steps or made.steps, notes=[*notes, *made.notes])
    parts = adapter_memory(recipe, alike, config, checkpoint, world_size, device)
    made = planned(alike, config, parts, world_size, device, mfu, tokens, work=recipe.work, notes=notes)
    return replace(made, steps=steps or made.steps)


def adapter_memory(
    recipe: Finetune, alike: Pretrain, config: ModelConfig, checkpoint: Checkpoint | None, world_size: int, device: str
) -> dict[str, float]:
    """Bytes by purpose, of one rank: frozen weights in shards, the adapter whole on each."""
    with torch.device("meta"):
        model = Transformer(config, TrainingKernels())
    parts = memory(alike, config, model, world_size, device)
    trained = adapter_weights(recipe, config)
    frozen, largest = _frozen(recipe, config, checkpoint)
    sequences = 2 if recipe.objective == "dpo" else 1
    tokens = max(1, min(recipe.micro_batch_rows, recipe.batch_rows // world_size)) * recipe.data.length * sequences
    kept = activations(config, alike, tokens, max(2, world_size)) + _copies(recipe, config, tokens)
    return {
        # Packed matrices are no parameters, and sharding leaves them whole on every rank.
        "weights, frozen": frozen if largest else frozen * recipe.parallel.replicate / world_size,
        "adapter": 8.0 * trained + _MOMENTS[recipe.optimizer.name] * trained,
        "dense for the moment": float(largest),
        "gathered layers": parts["gathered layers"] / 2,  # no gradients in them
        "activations": kept,
        "fragments": LOST * kept,
        "loss": parts["loss"] - 4.0 * config.vocab_size * config.dim,
        "context": parts["context"],
    }


def adapter_weights(recipe: Finetune, config: ModelConfig) -> int:
    """How many weights the adapter has."""
    shapes, spec = expected_shapes(config), spec_of(recipe.lora)
    return sum(spec.rank * sum(shapes[f"{place}.weight"]) for place in spec.places(config.n_layers))


def _copies(recipe: Finetune, config: ModelConfig, tokens: int) -> float:
    """Inputs that an adapter keeps for itself, since its type is wider than the stream's, or dropout changed them."""
    if recipe.precision == "fp32" and not recipe.lora.dropout:
        return 0.0
    inputs = {"wo": config.n_heads * config.head_dim, "w2": config.hidden_dim}
    widths = sum(inputs.get(target, config.dim) for target in recipe.lora.targets)
    each = 4 + (1 if recipe.lora.dropout else 0)  # and what was left out
    layers = 1 if recipe.parallel.recompute else config.n_layers
    return float(each * widths * tokens * layers)


def _frozen(recipe: Finetune, config: ModelConfig, checkpoint: Checkpoint | None) -> tuple[float, int]:
    """(Bytes of the frozen weights, of the largest matrix that is made dense for a product)."""
    dtype = DTYPES[recipe.precision]
    largest = config.hidden_dim * config.dim * dtype.itemsize
    if recipe.quantize is None:
        size = config.n_params * dtype.itemsize if checkpoint is None else weights_bytes(checkpoint, dtype, packed=True)
        return size, largest if checkpoint is not None and is_packed(checkpoint) else 0
    total = 0.0
    for name, shape in expected_shapes(config).items():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        if len(shape) == 1 or not name.startswith("layers."):
            total += count * dtype.itemsize
        elif recipe.quantize == "nf4":
            total += count * _NF4_BITS / 8
        else:
            total += packed_bytes(FORMATS[recipe.quantize], (shape[0], shape[1]))
    return total, largest


def _alike(recipe: Finetune, config: ModelConfig) -> Pretrain:
    """The pre-training that computes as much."""
    length = recipe.data.length
    return Pretrain(
        run=recipe.run,
        data=Data(shards=Path(), length=length),
        batch_tokens=recipe.batch_rows * length,
        micro_batch_rows=recipe.micro_batch_rows,
        model=config,
        optimizer=recipe.optimizer,
        parallel=recipe.parallel,
        precision=recipe.precision,
    )


def _tokens(recipe: Finetune, tokenizer: Tokenizer) -> tuple[int, int | None, list[str]]:
    """(Tokens, steps if known, notes), by the examples if they are there."""
    if missing := [each.path for each in recipe.data.train if not each.path.exists()]:
        usual = 1000 * recipe.batch_rows * recipe.data.length
        return usual, None, [f"{missing[0]} is not there yet: reckoned with {usual:,} tokens, a thousand steps of whole rows"]
    rows = read_examples(recipe, tokenizer).train
    if not rows.rows:
        raise DataError("the examples give no row")
    some = range(0, rows.rows, max(1, rows.rows // 100))
    return round(sum(len(rows.row(i).ids) for i in some) / len(some) * rows.rows), rows.rows // recipe.batch_rows, []
