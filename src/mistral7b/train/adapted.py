"""A network to fine-tune: all its weights, or an adapter beside weights that are frozen and may be packed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from mistral7b.checkpoint.adapters import read_adapter
from mistral7b.checkpoint.folder import Checkpoint, open_source
from mistral7b.checkpoint.load import load_packed
from mistral7b.checkpoint.source import expected_shapes
from mistral7b.errors import RecipeError
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.lora import LoraSpec, adapted, add_adapter, put_adapter
from mistral7b.model.transformer import Transformer
from mistral7b.quant.linear import insert
from mistral7b.quant.nearest import nearest
from mistral7b.train import initial
from mistral7b.train.finetune_recipe import Finetune, Lora
from mistral7b.train.nf4 import NF4Linear, NF4Matrix
from mistral7b.train.parallel import parallelise
from mistral7b.train.preference import PreferenceTrainee
from mistral7b.train.ranks import Ranks
from mistral7b.train.trainee import Trainee

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build(checkpoint: Checkpoint, recipe: Finetune, ranks: Ranks, beat: Callable[[], None] = lambda: None) -> Trainee:
    """The model laid out for training, its weights in place; of a run that goes on, those that are trained come later. `beat`
    is called after each weight."""
    with torch.device("meta"):
        model = Transformer(checkpoint.config, TrainingKernels())
    if recipe.method == "full":
        trainee = parallelise(model, recipe.parallel, recipe.precision, ranks)
        trainee.to_empty(device=ranks.device)
        initial.fill(model, checkpoint, recipe.seed, beat)
        return trainee
    freeze(model, checkpoint, recipe, ranks.device, beat)
    begin_adapter(model, recipe)
    made = PreferenceTrainee(model, recipe.dpo.beta) if recipe.objective == "dpo" else Trainee(model)
    return parallelise(model, recipe.parallel, recipe.precision, ranks, trainee=made)


def freeze(
    model: Transformer, checkpoint: Checkpoint, recipe: Finetune, device: torch.device, beat: Callable[[], None] = lambda: None
) -> None:
    """Gives `model` the checkpoint's weights: in the recipe's precision, packed where the file or the recipe says so."""
    dtype = DTYPES[recipe.precision]
    if recipe.quantize is not None and is_packed(checkpoint):
        raise RecipeError(f"{recipe.model} is packed already, and trains as it is; leave quantize out")
    if recipe.quantize is None:
        weights = load_packed(checkpoint, dtype=dtype, device=device, progress=lambda *_: beat())
        state = weights.plain | insert(model, weights.packed, model.kernels)
    else:
        state = {}
        with open_source(checkpoint, mapped=False) as source:
            for name, shape in expected_shapes(checkpoint.config).items():
                beat()
                weight = source.get(name).to(device)
                if len(shape) == 1 or not name.startswith("layers."):
                    state[name] = weight.to(dtype)
                elif recipe.quantize == "nf4":
                    state |= _insert_nf4(model, name, NF4Matrix.of(weight))
                else:
                    state |= insert(model, {name: nearest(weight, recipe.quantize)}, model.kernels)
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False)


def is_packed(checkpoint: Checkpoint) -> bool:
    """Whether some of its matrices are stored in few bits."""
    with open_source(checkpoint) as source:
        return any(source.packed_format(name) is not None for name in source.names())


def spec_of(lora: Lora) -> LoraSpec:
    """The adapter that a recipe asks for."""
    return LoraSpec(lora.rank, lora.alpha, lora.dropout, lora.targets)


def begin_adapter(model: Transformer, recipe: Finetune) -> None:
    """Adapter 0 of the network, to be trained: a new one, or the one that `lora.adapter` names."""
    lora = recipe.lora
    if lora.adapter is None:
        add_adapter(model, spec_of(lora), recipe.seed)
        return
    adapter = read_adapter(lora.adapter, model.config)
    put_adapter(model, {name: weight.float() for name, weight in adapter.weights.items()}, adapter.scales)
    for module in adapted(model).values():
        module.dropouts[0] = lora.dropout
        module.lora_A.requires_grad_(True)
        module.lora_B.requires_grad_(True)


def adapter_only(model: Transformer) -> nn.Module:
    """A module of the trained weights alone, the same objects: what a checkpoint of an adapter's run holds."""
    held = nn.Module()
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            held.register_parameter(name.replace(".", "/"), weight)  # a module's own names have no dots
    return held


def _insert_nf4(model: Transformer, name: str, packed: NF4Matrix) -> dict[str, torch.Tensor]:
    place = name.removesuffix(".weight")
    module = NF4Linear(packed, model.kernels)
    model.set_submodule(place, module)
    return {f"{place}.{key}": value for key, value in module.state_dict().items()}
