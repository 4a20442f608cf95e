"""The finished weights as a model folder, gathered from all ranks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.companions import positions_of
from mistral7b.checkpoint.configs import DEFAULT_EOS, HF, OWN
from mistral7b.checkpoint.folder import Checkpoint
from mistral7b.checkpoint.hf import heads_permuted, hf_name
from mistral7b.checkpoint.layouts import to_half_split
from mistral7b.checkpoint.write import Row, write_json, write_shards
from mistral7b.model.transformer import Transformer
from mistral7b.train.ranks import Ranks
from mistral7b.train.sharded import whole

_BESIDE = 16 << 20  # bytes for headers, configs and the tokenizer


def export(
    model: Transformer,
    folder: Path,
    ranks: Ranks,
    *,
    tokenizer: Path,
    context: int,
    facts: dict[str, Any],
    base: Checkpoint | None = None,
) -> None:
    """Writes `folder` in Hugging Face's layout, in bf16: weights, config, tokenizer, and `facts` of the training.

    `context` is the length it was trained at; what a `base` is configured for, ends its replies with and was extended from stays.
    An older folder of that name is replaced. All ranks call it; one whole tensor at a time is gathered for the first.
    """
    weights: dict[str, Tensor] = {}
    for name, weight in model.named_parameters():
        full = whole(weight).detach()
        if ranks.first:
            weights[name] = full.to("cpu", torch.bfloat16)
    if ranks.first:
        _write(model, folder, weights, tokenizer, context, facts, base)
    ranks.wait()


def _write(
    model: Transformer,
    folder: Path,
    weights: dict[str, Tensor],
    tokenizer: Path,
    context: int,
    facts: dict[str, Any],
    base: Checkpoint | None,
) -> None:
    config = model.config

    def row(name: str, weight: Tensor) -> Row:
        heads = heads_permuted(name, config)
        return Row(
            hf_name(name), weight.dtype, tuple(weight.shape), lambda: weight if heads is None else to_half_split(weight, heads)
        )

    rows = [row(name, weight) for name, weight in weights.items()]
    with aside(folder, needs=sum(each.n_bytes for each in rows) + _BESIDE, folder=True, force=True) as made:
        positions = context if base is None else max(context, positions_of(base))
        eos_ids = DEFAULT_EOS if base is None else base.eos_ids
        write_json(made / HF, config.to_hf(max_position_embeddings=positions, dtype="bfloat16", eos_ids=eos_ids))
        extended = {} if base is None or base.extended_from is None else {"extended_from": base.extended_from}
        write_json(made / OWN, {"trained_context": context, **extended, "training": facts})
        write_shards(made, rows, lambda _: None)
        shutil.copyfile(tokenizer, made / tokenizer.name)
