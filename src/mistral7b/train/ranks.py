"""The processes of a run: one alone, or those that torchrun started, and how they are laid out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from mistral7b.errors import RecipeError
from mistral7b.train.recipe import Parallel


@dataclass(frozen=True)
class Ranks:
    """This process among `world`. `mesh` has the dimensions replicate, shard and tensor; None where there is one process.

    Ranks that share a row's work (tensor parallel) have the same `data_rank` of `data_ranks`.
    """

    rank: int
    world: int
    device: torch.device
    mesh: DeviceMesh | None = None

    @property
    def first(self) -> bool:
        """True in the one process that prints and writes."""
        return self.rank == 0

    @property
    def tensor(self) -> DeviceMesh | None:
        """The ranks that share each matrix; None where nobody does."""
        return None if self.mesh is None or self.mesh["tensor"].size() == 1 else self.mesh["tensor"]

    @property
    def tensor_group(self) -> dist.ProcessGroup | None:
        return None if self.tensor is None else self.tensor.get_group()

    @property
    def data_ranks(self) -> int:
        return self.world // (1 if self.tensor is None else self.tensor.size())

    @property
    def data_rank(self) -> int:
        return self.rank // (self.world // self.data_ranks)

    def sum(self, numbers: Tensor) -> Tensor:
        """`numbers` added up over the data ranks, in place."""
        if self.world > 1:
            dist.all_reduce(numbers)
            numbers /= self.world // self.data_ranks  # ranks of one tensor group hold the same
        return numbers

    def agreed(self, flag: bool) -> bool:
        """True if any rank says so."""
        if self.world == 1:
            return flag
        said = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(said, op=dist.ReduceOp.MAX)
        return bool(said.item())

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.world > 1:
            dist.barrier()


def device_here() -> torch.device:
    """This process' accelerator, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@contextmanager
def started(parallel: Parallel, *, device: torch.device | None = None, timeout: float = 600.0) -> Iterator[Ranks]:
    """The ranks of this run, for as long as the block runs: those of torchrun's environment, else this process alone.

    Raises RecipeError for a layout that does not fit the number of processes. A collective that takes longer than `timeout`
    seconds raises in torch.
    """
    device = device or device_here()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    ways = parallel.tensor * parallel.replicate
    if world % ways:
        raise RecipeError(
            f"parallel: tensor {parallel.tensor} x replicate {parallel.replicate} do not divide {world} process"
            f"{'es' if world > 1 else ''}; start a multiple of {ways} with torchrun, or lower them"
        )
    if world == 1:
        yield Ranks(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
    try:
        layout = (parallel.replicate, world // ways, parallel.tensor)
        mesh = init_device_mesh(device.type, layout, mesh_dim_names=("replicate", "shard", "tensor"))
        yield Ranks(dist.get_rank(), world, device, mesh)
    finally:
        dist.destroy_process_group()
