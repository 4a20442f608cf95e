"""Parallelism, recomputation and compilation, applied to a finished model from outside."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_module, distribute_tensor
from torch.utils.checkpoint import checkpoint

from mistral7b.config import ModelConfig
from mistral7b.errors import RecipeError
from mistral7b.model.transformer import Transformer
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Parallel, Precision
from mistral7b.train.trainee import Trainee

_COLUMNS = ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3")
_ROWS = ("attention.wo", "feed_forward.w2")


def parallelise(
    model: Transformer,
    recipe: Parallel,
    precision: Precision,
    ranks: Ranks,
    *,
    z_loss: float = 0.0,
    trainee: Trainee | None = None,
) -> Trainee:
    """The model ready to train on these ranks: first split over `tensor` ranks, then recomputing, compiled, and sharded
    (FSDP2) over `shard` ranks within each of `replicate` groups. Works on the meta device too. `trainee` is the model's,
    where it is not a plain one.

    Raises RecipeError for a model that cannot be divided so.
    """
    if ranks.tensor is not None:
        check_division(model.config, ranks.tensor.size())
        _split(model, ranks.tensor)
    for block in model.layers:
        if recipe.recompute:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if recipe.compile:
            # On CUDA attention is not compiled for any length at once (see kernels.flex).
            block.compile(dynamic=False if ranks.device.type == "cuda" else None)
    trainee = trainee or Trainee(model, z_loss=z_loss, tensor_group=ranks.tensor_group)
    if ranks.mesh is not None:
        narrow = torch.bfloat16 if precision == "bf16" else None
        policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=torch.float32)
        # Beside frozen weights what is trained is small: every rank has all of it, and `average` takes the part of sharding.
        small = {weight for weight in model.parameters() if weight.requires_grad} if is_adapted(model) else set()
        # One dimension of size 1 would still cost its collectives.
        names = ("replicate", "shard") if ranks.mesh["replicate"].size() > 1 else ("shard",)
        for block in model.layers:
            fully_shard(block, mesh=ranks.mesh[names], mp_policy=policy, ignored_params=small)
        fully_shard(trainee, mesh=ranks.mesh[names], mp_policy=policy, ignored_params=small)
    return trainee


def synchronise(trainee: Trainee, wanted: bool) -> None:
    """Whether the next backward pass adds up gradients over the ranks: only the last of an accumulation needs to."""
    if isinstance(trainee, FSDPModule):
        trainee.set_requires_gradient_sync(wanted)


def is_adapted(model: Transformer) -> bool:
    """Whether only some of its weights are trained."""
    return any(not weight.requires_grad for weight in model.parameters())


def average(trainee: Trainee, ranks: Ranks) -> None:
    """The mean over the ranks of those gradients that sharding does not see: of weights that every rank has whole."""
    if ranks.world == 1:
        return
    grads = [weight.grad for weight in trainee.parameters() if weight.grad is not None and not isinstance(weight, DTensor)]
    if grads:
        flat = torch.cat([grad.flatten() for grad in grads])
        dist.all_reduce(flat)
        flat /= ranks.world
        for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(mean.view_as(grad))


def check_division(config: ModelConfig, ways: int) -> None:
    """Raises RecipeError if `ways` ranks cannot share this model's matrices."""
    for name, number in (
        ("n_kv_heads", config.n_kv_heads), ("hidden_dim", config.hidden_dim), ("vocab_size", config.vocab_size)
    ):  # fmt: skip
        if number % ways:
            raise RecipeError(f"parallel.tensor {ways} does not divide {name} {number:,}; take a divisor")


def _split(model: Transformer, mesh: DeviceMesh) -> None:
    """Columns of the first matrices, rows of the second (Megatron-LM, arXiv 1909.08053, section 3); the head by vocabulary."""
    # It warns of two gathers in a row, which is what sharding a shard costs.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    for block in model.layers:
        for name in _COLUMNS:
            _sharded(block.get_submodule(name), mesh, 0)
        for name in _ROWS:
            _sharded(block.get_submodule(name), mesh, 1)
    _sharded(model.output, mesh, 0, gather=True)


def _sharded(linear: nn.Module, mesh: DeviceMesh, dim: int, *, gather: bool = False) -> None:
    """`weight` `[out, in]` sharded along `dim`. By rows of the weight (0) the input is whole and the output this rank's part,
    unless gathered; by columns (1) the input is this rank's part and the output is summed."""
    given = Replicate() if dim == 0 else Shard(-1)
    wanted = Shard(-1) if dim == 0 and not gather else Replicate()

    def part(_: str, module: nn.Module, mesh: DeviceMesh) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        module.weight = nn.Parameter(distribute_tensor(weight, mesh, [Shard(dim)], src_data_rank=None))

    def take(_: nn.Module, inputs: tuple[Any, ...], mesh: DeviceMesh) -> tuple[Any, ...]:
        return DTensor.from_local(inputs[0], mesh, [given], run_check=False), *inputs[1:]

    def give(_: nn.Module, output: DTensor, mesh: DeviceMesh) -> Tensor:
        return output.redistribute(mesh, [wanted]).to_local()

    distribute_module(linear, mesh, part, take, give)  # type: ignore[arg-type]
