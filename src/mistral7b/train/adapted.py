"""A network to fine-tune: all its weights, or adapters beside weights that are frozen and may be packed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mistral7b.checkpoint.adapters import read_adapter
from mistral7b.checkpoint.folder import Checkpoint, open_source
from mistral7b.checkpoint.load import load_packed
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.lora import LoraSpec, add_adapter, put_adapter
from mistral7b.model.transformer import Transformer
from mistral7b.quant.linear import insert
from mistral7b.quant.matrix import PackedMatrix
from mistral7b.quant.nearest import nearest
from mistral7b.train import initial
from mistral7b.train.finetune_recipe import Finetune
from mistral7b.train.parallel import parallelise
from mistral7b.train.preference import PreferenceTrainee
from mistral7b.train.ranks import Ranks
from mistral7b.train.trainee import Trainee

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build(checkpoint: Checkpoint, recipe: Finetune, ranks: Ranks) -> Trainee:
    """The model laid out for training, its weights in place."""
    with torch.device("meta"):
        model = Transformer(checkpoint.config, TrainingKernels())
    if recipe.method == "full":
        trainee = parallelise(model, recipe.parallel, recipe.precision, ranks)
        trainee.to_empty(device=ranks.device)
        initial.fill(model, checkpoint, recipe.seed)
        return trainee
    load_frozen(model, checkpoint, recipe, ranks.device)
    begin_adapter(model, recipe)
    made = PreferenceTrainee(model, recipe.dpo.beta) if recipe.objective == "dpo" else Trainee(model)
    return parallelise(model, recipe.parallel, recipe.precision, ranks, trainee=made)


def load_frozen(model: Transformer, checkpoint: Checkpoint, recipe: Finetune, device: torch.device) -> None:
    """The checkpoint's weights, one at a time: in the recipe's precision, packed where the file or the recipe says so."""
    dtype = _DTYPES[recipe.precision]
    if recipe.quantize is None:
        weights = load_packed(checkpoint, dtype=dtype, device=device)
        plain, packed = weights.plain, weights.packed
    else:
        plain, packed = _quantised(checkpoint, recipe.quantize, dtype, device)
    model.load_state_dict(plain | insert(model, packed, model.kernels), assign=True)
    model.requires_grad_(False)


def begin_adapter(model: Transformer, recipe: Finetune) -> None:
    """Adapter 0 of the network, in training: a new one, or the one that `lora.adapter` names."""
    lora = recipe.lora
    if lora.adapter is None:
        add_adapter(model, LoraSpec(lora.rank, lora.alpha, lora.dropout, lora.targets), recipe.seed)
        return
    adapter = read_adapter(lora.adapter, model.config)
    put_adapter(model, adapter.weights, adapter.scales, dropout=lora.dropout, trained=True)


def adapter_only(model: Transformer) -> nn.Module:
    """A module of the trained weights alone, the same objects: what a checkpoint of an adapter's run holds."""
    held = nn.Module()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            held.register_parameter(name.replace(".", "/"), weight)  # a module's own names have no dots
    return held


def _quantised(
    checkpoint: Checkpoint, format: str, dtype: torch.dtype, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, PackedMatrix]]:
    """Each matrix inside the layers rounded to nearest as it is read; embeddings, head and norms plain."""
    plain: dict[str, Tensor] = {}
    packed: dict[str, PackedMatrix] = {}
    with open_source(checkpoint, mapped=False) as source:
        for name, shape in expected_shapes(checkpoint.config).items():
            weight = source.get(name).to(device)
            if len(shape) == 2 and name.startswith("layers."):
                packed[name] = nearest(weight, format)
            else:
                plain[name] = weight.to(dtype)
    return plain, packed
