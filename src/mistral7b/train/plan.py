"""A run planned for other machines: memory of a rank, what does not fit, time and device-hours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from mistral7b.config import ModelConfig
from mistral7b.data.shards import Shards
from mistral7b.errors import DataError, RecipeError
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.transformer import Transformer
from mistral7b.train import initial
from mistral7b.train.batches import course
from mistral7b.train.flops import PEAKS, attention_flops, matrix_flops
from mistral7b.train.loss import chunk_bytes
from mistral7b.train.parallel import check_division
from mistral7b.train.recipe import Parallel, Pretrain

_GIB = 2**30
# Memory by device, from the makers' data sheets, and what the driver, the context and the collectives keep of it.
_MEMORY = {"h200": 141e9, "h100": 80e9, "a100": 80e9, "l40s": 48e9, "l4": 24e9, "a10": 24e9, "rtx 4090": 24e9}
_KEPT = 2.0e9
_PROCESS = 0.4e9  # of a CPU's memory: Python, torch and its threads' buffers
LOST = 0.1  # of the activations, between an allocator's pieces: what steps of `tiny` took beyond the formula (docs/numbers.md)
_USUAL_TOKENS = 10**12  # where there are no shards to count


@dataclass(frozen=True)
class Plan:
    """Bytes are those of one rank at the fullest moment of a step; `days` and `device_hours` at the stated `mfu`."""

    device: str
    world_size: int
    parameters: int
    memory: dict[str, float]
    memory_of_device: float | None
    fits: bool | None
    tokens: int
    steps: int
    tokens_s: float | None
    mfu: float
    days: float | None
    device_hours: float | None
    notes: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> float:
        return sum(self.memory.values())

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "bytes": self.bytes}

    def rows(self) -> list[tuple[str, str]]:
        """What a terminal shows."""
        held = "" if self.memory_of_device is None else f" of {self.memory_of_device / _GIB:,.1f}"
        verdict = {True: "fits", False: "does not fit", None: "memory of the device not known"}[self.fits]
        found = [
            ("devices", f"{self.world_size} x {self.device}"),
            ("parameters", f"{self.parameters:,}"),
            *((name, f"{size / _GIB:,.2f} GiB") for name, size in self.memory.items()),
            ("memory a rank", f"{self.bytes / _GIB:,.1f}{held} GiB: {verdict}"),
            ("tokens", f"{self.tokens:,} in {self.steps:,} steps"),
        ]
        if self.tokens_s is not None and self.days is not None and self.device_hours is not None:
            found += [
                ("tokens a second", f"{self.tokens_s:,.0f} at {self.mfu:.0%} MFU"),
                ("time", f"{self.days:,.1f} days, {self.device_hours:,.0f} device-hours"),
            ]
        return found


def make_plan(
    recipe: Pretrain, world_size: int, device: str, mfu: float, *, tokens: int | None = None, peak: float | None = None
) -> Plan:
    """What the run takes on `world_size` devices; `tokens` replace those of the shards, `peak` (operations a second) the data
    sheet's.

    The network is built on the meta device, so this needs no memory. Raises RecipeError for an unknown device, and for a layout
    that does not divide the world, the batch or the model.
    """
    device = known(device)
    check_layout(recipe.parallel, recipe.rows, "batch_tokens give", world_size)
    config = initial.config_of(recipe, initial.origin(recipe))
    check_division(config, recipe.parallel.tensor)
    with torch.device("meta"):
        model = Transformer(config, TrainingKernels())
    parts = memory(recipe, config, model, world_size, device)
    tokens, notes = (tokens, []) if tokens is not None else _tokens(recipe)
    return planned(recipe, config, parts, world_size, device, mfu, tokens, peak=peak, notes=notes)


def known(device: str) -> str:
    """The name in lower case; RecipeError for a device of which nothing is known."""
    if device.lower() not in _MEMORY and device.lower() != "cpu":
        raise RecipeError(f"--device {device} is not known; known are {', '.join(sorted(_MEMORY))} and cpu")
    return device.lower()


def check_layout(parallel: Parallel, rows: int, named: str, world_size: int) -> None:
    """Raises RecipeError for a layout that does not divide the world, and for rows of a step that its ranks cannot share."""
    ways = parallel.tensor * parallel.replicate
    if world_size % ways:
        raise RecipeError(f"parallel: tensor x replicate is {ways}, which does not divide --world-size {world_size}")
    ranks = world_size // parallel.tensor
    if rows % ranks:
        raise RecipeError(f"{named} {rows} rows a step, which {ranks} ranks cannot share; change them")


def planned(
    recipe: Pretrain, config: ModelConfig, parts: dict[str, float], world_size: int, device: str, mfu: float, tokens: int,
    *, peak: float | None = None, work: float = 1.0, notes: list[str],
) -> Plan:  # fmt: skip
    """A plan whose memory is reckoned, for a `known` device; `work` is the share of a whole step's arithmetic that is done."""
    rate = peak or PEAKS.get(device)
    keys = min(config.sliding_window or recipe.data.length, recipe.data.length)
    mean_keys = keys - keys * (keys - 1) / (2 * recipe.data.length)  # each row one document: the most there can be
    per_token = work * (matrix_flops(config) + attention_flops(config, mean_keys))
    tokens_s = None if rate is None else mfu * rate * world_size / per_token
    held = _MEMORY.get(device)
    needed = sum(parts.values())
    fits = None if held is None else needed <= held
    if held is not None and not fits:
        notes += _advice(parts, needed - held, recipe, world_size)
    days = None if tokens_s is None else tokens / tokens_s / 86_400
    return Plan(
        device, world_size, config.n_params, parts, held, fits, tokens, tokens // recipe.batch_tokens, tokens_s, mfu, days,
        None if days is None else days * 24 * world_size, notes,
    )  # fmt: skip


def memory(recipe: Pretrain, config: ModelConfig, model: Transformer, world_size: int, device: str) -> dict[str, float]:
    """Bytes by purpose, of one rank, at the fullest moment: a backward pass that adds to earlier gradients."""
    tensor = recipe.parallel.tensor
    shard = world_size // (tensor * recipe.parallel.replicate)
    weights = sum(weight.numel() for weight in model.parameters())
    inner = sum(weight.numel() for weight in model.layers.parameters() if weight.dim() == 2)
    outer = weights - inner
    head = config.vocab_size * config.dim
    mine = (inner + head) / tensor / shard + (outer - head) / shard  # embeddings and norms are whole in each tensor rank
    wide = 2 if recipe.precision == "bf16" else 4
    moments = 8.0 * mine
    if recipe.optimizer.name == "muon":
        moments -= 4 * inner / tensor / shard
    layer = inner / config.n_layers / tensor
    # This layer's weights and the next one's, those outside the layers, and a layer's gradients until they are shared out.
    gathered = 0.0 if world_size == 1 else wide * (2 * layer + outer - head + head / tensor) + 4 * layer
    tokens = max(1, min(recipe.micro_batch_rows, recipe.rows * tensor // world_size)) * recipe.data.length
    kept = activations(config, recipe, tokens, world_size)
    logits = min(chunk_bytes("cpu" if device == "cpu" else "cuda"), 4.0 * tokens * config.vocab_size / tensor)
    parts = {
        "weights, fp32": 4 * mine,
        "gradients, fp32": 4 * mine,
        "optimizer": moments,
        "gathered layers": gathered,
        "activations": kept,
        "fragments": LOST * kept,
        "loss": logits + 4 * head / tensor + wide * tokens * config.dim,
        "context": _PROCESS if device == "cpu" else _KEPT,
    }
    if device == "cpu":
        # A checkpoint is copied before it is written, into memory that gradients and activations have just left.
        free = sum(parts[name] for name in ("gradients, fp32", "gathered layers", "activations", "fragments", "loss"))
        parts["checkpoint"] = max(0.0, 4 * mine + moments - free)
    return parts


def activations(config: ModelConfig, recipe: Pretrain, tokens: int, world_size: int) -> float:
    """Bytes that `tokens` tokens of a forward leave for its backward pass.

    A layer keeps, in numbers a token (kernels/training_room.py, packed.py): its input and the middle of its residual stream,
    both normed; q, k and v rotated; the attention's result with a number a head; gate, up and their product. With recomputation
    only its input stays, and one layer's share beside it. To that come what a layer's way back holds at once (the gradients of
    gate, up, product and stream), the last norm, and the positions' angles. Tensor parallelism divides what lies between the
    matrices, not the stream.
    """
    narrow = 2 if recipe.precision == "bf16" else 4
    tensor = recipe.parallel.tensor
    queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    within = (narrow * (2 * queries + 2 * keys + 3 * config.hidden_dim) + 4 * config.n_heads) / tensor
    if recipe.precision == "bf16" and world_size == 1:  # autocast: the stream stays fp32, every product takes a copy of its own
        stream = 4 * 2 * config.dim + 2 * 5 * config.dim
    else:
        stream = narrow * 4 * config.dim
    layer = tokens * (within + stream)
    back = tokens * narrow * (3 * config.hidden_dim / tensor + 2 * config.dim)
    outside = tokens * (narrow * 2 * config.dim + 4 * 2 * config.head_dim)
    if recipe.parallel.recompute:
        return float(stream_bytes(config, recipe, world_size) * tokens * config.n_layers + layer + back + outside)
    return float(layer * config.n_layers + back + outside)


def stream_bytes(config: ModelConfig, recipe: Pretrain, world_size: int) -> int:
    """Bytes of one token in the residual stream."""
    return config.dim * (2 if recipe.precision == "bf16" and world_size > 1 else 4)


def _tokens(recipe: Pretrain) -> tuple[int, list[str]]:

    try:
        return course(recipe, Shards.open(Path(recipe.data.shards))).rows * recipe.data.length, []
    except DataError:
        return _USUAL_TOKENS, [f"{recipe.data.shards} holds no shards yet: reckoned with {_USUAL_TOKENS:,} tokens"]


def _advice(parts: dict[str, float], over: float, recipe: Pretrain, world_size: int) -> list[str]:
    largest = max(parts, key=lambda name: parts[name])
    notes = [f"over by {over / _GIB:,.1f} GiB; the largest part is {largest}, {parts[largest] / _GIB:,.1f} GiB"]
    if largest == "activations" and not recipe.parallel.recompute:
        notes.append("parallel.recompute: true keeps one input a layer instead")
    elif largest == "activations" and recipe.micro_batch_rows > 1:
        notes.append("a smaller micro_batch_rows needs less; a step stays as large, in more micro-batches")
    elif largest == "activations":
        notes.append("data.length is what a row costs; where all weights are trained parallel.tensor divides what a layer keeps")
    elif recipe.parallel.replicate > 1:
        notes.append("parallel.replicate: 1 shards over all ranks")
    else:
        notes.append(f"weights, gradients and optimizer shrink with --world-size; it is {world_size}")
    return notes
