"""A training run of any kind, from its recipe to what it leaves: begun, gone on with, ended; on one process and on many."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from mistral7b.errors import NumericError
from mistral7b.train.batches import MicroBatch
from mistral7b.train.checkpoints import Checkpoints
from mistral7b.train.flops import peak_flops
from mistral7b.train.journal import Journal
from mistral7b.train.loop import Norms, StepResult, training_step
from mistral7b.train.optim import optimizers, set_rates
from mistral7b.train.ranks import Ranks, started
from mistral7b.train.recipe import Training
from mistral7b.train.schedule import share
from mistral7b.train.stopping import asked_to_stop
from mistral7b.train.trainee import Trainee
from mistral7b.train.watchdog import Watchdog

CHECKPOINTS = "checkpoints"
Measured = tuple[dict[str, float], dict[str, str]]  # figures by name, samples of text by prompt


class Watcher(Protocol):
    """Told what happens, on the first rank only."""

    def note(self, line: str) -> None: ...

    def step(self, line: dict[str, Any], steps: int) -> None: ...

    def evaluation(self, step: int, title: str, figures: dict[str, float], samples: dict[str, str]) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """`step` of `steps` were done; `model` is the folder that the run made, None for one that was stopped."""

    step: int
    steps: int
    model: Path | None


@dataclass
class Progress:
    """What a checkpoint knows beside tensors."""

    step: int = 0
    tokens: int = 0
    skipped: int = 0
    seconds: float = 0.0
    norms: Norms = field(default_factory=Norms)

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Progress:
        """What `asdict` made of one."""
        return cls(**{**facts, "norms": Norms(**facts["norms"])})

    def told(self) -> dict[str, int]:
        """What the folder that a run leaves tells of it."""
        return {"tokens": self.tokens, "steps": self.step, "skipped_steps": self.skipped, "seconds": round(self.seconds)}


class Task(Protocol):
    """What one kind of run trains, on what, and what it makes of it. Every rank calls every method."""

    @property
    def recipe(self) -> Training: ...

    @property
    def trainee(self) -> Trainee: ...

    @property
    def steps(self) -> int:
        """Of the whole run."""

    @property
    def measures(self) -> str:
        """The title of what `measure` gives: "held-out bits per byte"."""

    @property
    def trained(self) -> nn.Module:
        """What has the weights that change, and nothing else: a checkpoint's contents."""

    def begin(self) -> Iterator[str]:
        """Puts the first weights in place; says so in some lines."""

    def facts(self) -> dict[str, Any]:
        """What a checkpoint tells of its run."""

    def changes(self, facts: dict[str, Any]) -> Iterator[str]:
        """A line for each thing that is not as it was when `facts` were written; MismatchError for what must be."""

    def micro_batches(self, step: int) -> Sequence[MicroBatch]:
        """This rank's share of a step, counted from 0: a function of the step alone."""

    def turns(self, step: int) -> bool:
        """Whether other data than before begin within a step."""

    def flops(self, micro: MicroBatch) -> float:
        """What the mathematics of one micro-batch asks for."""

    def measure(self, *, whole: bool) -> Measured:
        """Figures on held-out text, a part of it or the `whole`, and samples."""

    def finish(self, progress: Progress, figures: dict[str, float]) -> Path:
        """Writes what the run was for; returns its folder."""


def run_task(
    recipe: Training,
    make: Callable[[Ranks, Watchdog], Task],
    watcher: Watcher,
    device: torch.device | None,
    until: int | None,
) -> Outcome:
    """Starts the ranks and the watchdog, makes the task on them, and runs it."""
    with (
        started(recipe.parallel, device=device, timeout=2 * recipe.hang_seconds) as ranks,
        Watchdog(ranks, recipe.hang_seconds) as watchdog,
    ):
        return Run(make(ranks, watchdog), ranks, watcher, watchdog).go(until)


class Run:
    """Everything of one run in one process."""

    def __init__(self, task: Task, ranks: Ranks, watcher: Watcher, watchdog: Watchdog) -> None:
        self.task, self.recipe, self.ranks, self.watcher, self.watchdog = task, task.recipe, ranks, watcher, watchdog
        self.optims = optimizers(task.trained, self.recipe.optimizer)
        self.checkpoints = Checkpoints(self.recipe.run / CHECKPOINTS, self.recipe.keep, ranks)
        self.peak = peak_flops(ranks.device) if ranks.first else None
        self._saved, self._saved_at = -1, time.monotonic()

    def go(self, until: int | None) -> Outcome:
        steps, task = self.task.steps, self.task
        progress = self._begin()
        self.watchdog.beat("going on" if progress.step else "beginning")
        self.watchdog.follow(task.trainee.model.layers)
        journal = None
        if self.ranks.first:
            journal = Journal(self.recipe.run, progress.step, task.measures, ended=progress.step == steps)
        last = min(steps, until if until is not None else steps)
        try:
            with asked_to_stop() as asked:
                while progress.step < last and not self.ranks.agreed(asked()):
                    self._step(progress, journal)
                self._save(progress, journal)
                self.checkpoints.wait()
            if progress.step < steps:
                return Outcome(progress.step, steps, None)
            return Outcome(progress.step, steps, self._finish(progress, journal))
        finally:
            self.checkpoints.close()
            if journal is not None:
                journal.close()

    def _begin(self) -> Progress:
        self.watchdog.beat("loading")
        changes: list[str] = []
        facts = self.checkpoints.load_newest(
            self.task.trained, self.optims, lambda facts: changes.extend(self.task.changes(facts))
        )  # fmt: skip
        for line in self.task.begin() if facts is None else changes:
            self._note(line)
        if facts is None:
            return Progress()
        progress = Progress.of(facts["progress"])
        self._saved = progress.step
        self._note(f"going on from step {progress.step:,} of {self.task.steps:,}")
        return progress

    def _step(self, progress: Progress, journal: Journal | None) -> None:
        recipe, task = self.recipe, self.task
        begun = time.monotonic()
        self.watchdog.beat(f"step {progress.step + 1}: data")
        micro_batches = task.micro_batches(progress.step)
        if task.turns(progress.step):
            progress.norms = Norms()  # what was usual before would call their gradients spikes
        # What is left out at random is a function of the step too.
        torch.manual_seed(((self.recipe.seed * 1_000_003 + progress.step) * 65_537 + self.ranks.data_rank) % 2**63)
        set_rates(self.optims, rate := share(recipe.schedule, progress.step, task.steps))
        self.watchdog.beat(f"step {progress.step + 1}: forward and backward")
        try:
            result = training_step(
                task.trainee, micro_batches, self.optims, self.ranks, precision=recipe.precision, clip_at=recipe.optimizer.clip,
                spikes=recipe.spikes, norms=progress.norms, watchdog=self.watchdog,
            )  # fmt: skip
        except NumericError as error:
            raise NumericError(f"step {progress.step + 1}: {error}; {self._way_on()}") from None
        seconds = time.monotonic() - begun
        progress.step += 1
        progress.tokens += result.tokens
        progress.skipped += result.skipped
        progress.seconds += seconds
        if journal is not None:
            flops = sum(task.flops(micro) for micro in micro_batches) * self.ranks.data_ranks
            line = self._line(progress, result, rate, seconds, flops)
            journal.step(line)
            self.watcher.step(line, task.steps)
        if progress.step % recipe.evaluate.every == 0 and progress.step < task.steps:
            begun = time.monotonic()
            self.watchdog.beat(f"step {progress.step}: evaluation")
            self._measure(progress.step, journal, whole=False)
            progress.seconds += time.monotonic() - begun
        if self._due(progress.step):
            self._save(progress, journal)

    def _line(self, progress: Progress, result: StepResult, rate: float, seconds: float, flops: float) -> dict[str, Any]:
        line: dict[str, Any] = {
            "step": progress.step, "tokens": progress.tokens, "loss": result.loss, "norm": result.norm,
            "rate": rate * self.recipe.optimizer.rate, "tokens_s": result.tokens / seconds,
        }  # fmt: skip
        if self.peak:
            line["mfu"] = flops / seconds / (self.peak * self.ranks.world)
        return line | ({"skipped": True} if result.skipped else {})

    def _measure(self, step: int, journal: Journal | None, *, whole: bool) -> dict[str, float]:
        self.task.trainee.eval()  # no dropout
        figures, samples = self.task.measure(whole=whole)
        self.task.trainee.train()
        if journal is not None:
            journal.evaluation(step, figures, samples)
            self.watcher.evaluation(step, self.task.measures, figures, samples)
        return figures

    def _due(self, step: int) -> bool:
        keep = self.recipe.keep
        if step % keep.every == 0 or keep.minutes is None:  # the ranks need not ask one another
            return step % keep.every == 0
        return self.ranks.agreed(time.monotonic() - self._saved_at > 60 * keep.minutes)

    def _save(self, progress: Progress, journal: Journal | None) -> None:
        if progress.step in (self._saved, 0):  # step 0 is the seed's
            return
        self.watchdog.beat(f"step {progress.step}: checkpoint")
        if journal is not None:
            journal.keep()
        self.checkpoints.save(progress.step, self.task.trained, self.optims, {"progress": asdict(progress), **self.task.facts()})
        self._saved, self._saved_at = progress.step, time.monotonic()

    def _finish(self, progress: Progress, journal: Journal | None) -> Path:
        self._note("measuring on all that is held out")
        self.watchdog.beat("measuring on all that is held out")
        figures = self._measure(progress.step, journal, whole=True)
        self.watchdog.beat("writing the model")
        return self.task.finish(progress, figures)

    def _way_on(self) -> str:
        steps = self.checkpoints.steps()
        where = f": it goes on from step {steps[0]:,}" if steps else ""
        return f"lower optimizer.rate, {self.recipe.optimizer.rate:g}, and start again{where}"

    def _note(self, line: str) -> None:
        if self.ranks.first:
            self.watcher.note(line)
