"""The processes of a run: one alone, or those that torchrun started, and how they are laid out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d as c10d
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.rendezvous import rendezvous

from mistral7b.errors import RanksError, RecipeError
from mistral7b.train.recipe import Parallel

T = TypeVar("T")
_DIMENSIONS = ("replicate", "shard", "tensor")


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
    def device_name(self) -> str:
        """What computes, as a record tells it: "NVIDIA H100 80GB HBM3", "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

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

    def any_word(self, word: str | None) -> str | None:
        """What the first rank that has something to say says; None if none has."""
        if self.world == 1:
            return word
        words: list[str | None] = [None] * self.world
        dist.all_gather_object(words, word)
        return next((each for each in words if each is not None), None)

    def told(self, value: T) -> T:
        """What the first rank has for a value."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def wait(self) -> None:
        """Until all ranks are here."""
        self.agreed(False)  # a barrier would ask NCCL for a device


def device_here() -> torch.device:
    """This process' accelerator, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@contextmanager
def started(parallel: Parallel, *, device: torch.device | None = None, timeout: float = 600.0) -> Iterator[Ranks]:
    """The ranks of this run, for as long as the block runs: those of torchrun's environment, else this process alone.

    Raises RecipeError for a layout that does not fit the number of processes, and RanksError if they do not all come within
    `timeout` seconds. A collective that takes longer than that raises in torch.
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
    limit = timedelta(seconds=timeout)
    try:
        store, rank, _ = next(rendezvous("env://", timeout=limit))
        # After a restart torchrun may give the same store, with the addresses of processes that are gone.
        store = c10d.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit)
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        why = str(error).split("\n", 1)[0]
        raise RanksError(
            f"the {world} processes did not all meet at {place} ({why}); see that all were started and reach that port"
        ) from None
    try:
        layout = (parallel.replicate, world // ways, parallel.tensor)
        mesh = init_device_mesh(device.type, layout, mesh_dim_names=_DIMENSIONS)
        for name in _DIMENSIONS:  # else those of NCCL wait ten minutes, whatever the timeout
            c10d._set_pg_timeout(limit, mesh[name].get_group())
        yield Ranks(rank, world, device, mesh)
    finally:
        dist.destroy_process_group()
