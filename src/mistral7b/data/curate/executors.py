"""Who runs the stages: this machine, Slurm or Ray, all by datatrove's executors."""

from __future__ import annotations

import errno
import os
import signal
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from typing import Any, Protocol

import multiprocess
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from mistral7b.data.curate.recipe import CurateRecipe, Ray
from mistral7b.data.curate.stages import Stage
from mistral7b.data.curate.work import Work
from mistral7b.errors import DataError

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Progress(Protocol):
    """Told what is done and what there is in all."""

    def __call__(self, done: int, total: int, label: str = "") -> None: ...


class Local(LocalPipelineExecutor):
    """datatrove's, with a loop of its own: it tells how far it is, writes no log, ends all workers at the first error, and leaves
    no process behind when it is killed (its workers end when their pipe does)."""

    pipeline: list[PipelineStep]

    def run_stage(self, label: str, progress: Progress) -> None:
        todo = self.get_incomplete_ranks()
        done = self.tasks - len(todo)
        progress(done, self.tasks, label)
        for done, _ in enumerate(self._results(todo), start=done + 1):  # noqa: B020 counts on from what an earlier run did
            progress(done, self.tasks, label)

    def _results(self, todo: list[int]) -> Iterator[None]:
        workers = min(self.workers, len(todo))
        if workers <= 1:
            for rank in todo:
                _task(self, rank)
                yield
            return
        context = multiprocess.get_context("forkserver")
        context.set_forkserver_preload(["mistral7b.data.curate.stages"])
        with context.Pool(workers, initializer=_begin_worker) as pool:
            yield from pool.imap_unordered(_Task(self), todo)

    def run_task(self, rank: int) -> None:
        """All blocks on one unit, then its mark. Blocks remember what they did, so each task has its own."""
        blocks, data = deepcopy(self.pipeline), None
        for block in blocks:
            data = block(data, rank, self.world_size)
        deque(data or (), maxlen=0)
        self.mark_rank_as_completed(rank)


class _Task:
    """One task of an executor, as a callable that travels to a worker."""

    def __init__(self, executor: Local) -> None:
        self.executor = executor

    def __call__(self, rank: int) -> None:
        _task(self.executor, rank)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business


def _task(executor: Local, rank: int) -> None:
    logger.disable("datatrove")
    try:
        executor.run_task(rank)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = os.fspath(executor.logging_dir.path)
        raise DataError(
            f"the disk of {where} is full; what was finished is kept: make room, then give the same command again"
        ) from None
    finally:
        logger.enable("datatrove")


def local(stage: Stage, work: Work, workers: int) -> Local:
    """`stage` on this machine."""
    made: Local = Local(stage.pipeline, tasks=stage.tasks, workers=workers, logging_dir=str(work.log(stage.name)))
    return made


def slurm(recipe: CurateRecipe, made: list[Stage], work: Work) -> Any:
    """The last of a chain of jobs, each waiting for the one before; `.run()` submits them all."""
    from datatrove.executor import SlurmPipelineExecutor

    assert recipe.slurm is not None
    settings, last = recipe.slurm, None
    for stage in made:
        last = SlurmPipelineExecutor(
            stage.pipeline, tasks=stage.tasks, time=settings.time, partition=settings.partition, qos=settings.qos,
            cpus_per_task=settings.cpus_per_task, mem_per_cpu_gb=settings.mem_per_cpu_gb, workers=settings.workers,
            job_name=f"curate-{stage.name}", env_command=settings.env_command, sbatch_args=dict(settings.sbatch_args),
            logging_dir=str(work.log(stage.name)), slurm_logs_folder=str(work.log(stage.name) / "slurm"), depends=last,
        )  # fmt: skip
    return last


def ray(recipe: CurateRecipe, made: list[Stage], work: Work) -> Any:
    """The same chain on a Ray cluster. Raises DataError without the package ray."""
    from datatrove.executor import RayPipelineExecutor

    if find_spec("ray") is None:
        raise DataError("executor: ray needs the package ray; pip install ray")
    settings, last = recipe.ray or Ray(), None
    for stage in made:
        last = RayPipelineExecutor(
            stage.pipeline, tasks=stage.tasks, workers=settings.workers, cpus_per_task=settings.cpus_per_task,
            mem_per_cpu_gb=settings.mem_per_cpu_gb, logging_dir=str(work.log(stage.name)), depends=last,
        )  # fmt: skip
    return last
