"""A pre-training run from its recipe to a model folder: begun, gone on with, ended; the same on one process and on many."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from mistral7b.config import ModelConfig
from mistral7b.data.shards import Shards
from mistral7b.errors import MismatchError, NumericError, RecipeError
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.transformer import Transformer
from mistral7b.recipe import as_json
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train import initial
from mistral7b.train.batches import course
from mistral7b.train.checkpoints import Checkpoints
from mistral7b.train.evaluate import bits_per_byte, byte_lengths, continuations, held_out
from mistral7b.train.export import export
from mistral7b.train.flops import batch_flops, peak_flops
from mistral7b.train.going_on import changes, facts_of
from mistral7b.train.journal import Journal
from mistral7b.train.loop import Norms, StepResult, training_step
from mistral7b.train.optim import optimizers, set_rates
from mistral7b.train.parallel import parallelise
from mistral7b.train.ranks import Ranks, started
from mistral7b.train.recipe import Pretrain
from mistral7b.train.schedule import share
from mistral7b.train.stopping import asked_to_stop
from mistral7b.train.trainee import Trainee
from mistral7b.train.watchdog import Watchdog

CHECKPOINTS, MODEL = "checkpoints", "model"


class Watcher(Protocol):
    """Told what happens, on the first rank only."""

    def note(self, line: str) -> None: ...

    def step(self, line: dict[str, Any], steps: int) -> None: ...

    def evaluation(self, step: int, bits: dict[str, float], samples: dict[str, str]) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """`step` of `steps` were done; `model` is the finished model's folder, None for a run that was stopped."""

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


def pretrain(recipe: Pretrain, watcher: Watcher, *, device: torch.device | None = None, until: int | None = None) -> Outcome:
    """Trains by `recipe` from its newest checkpoint, or from the beginning; `until` ends after that step, saved.

    SIGTERM and Ctrl-C save and stop. Raises RecipeError, DataError and MismatchError for what does not fit together,
    NumericError for a loss that is not finite, CheckpointError for a disk that takes no more, RanksError for a rank that is
    gone; what was saved stays.
    """
    with (
        started(recipe.parallel, device=device, timeout=2 * recipe.hang_seconds) as ranks,
        Watchdog(ranks, recipe.hang_seconds) as watchdog,
    ):
        return _Run(recipe, ranks, watcher, watchdog).go(until)


class _Run:
    """Everything of one run in one process."""

    def __init__(self, recipe: Pretrain, ranks: Ranks, watcher: Watcher, watchdog: Watchdog) -> None:
        self.recipe, self.ranks, self.watcher, self.watchdog = recipe, ranks, watcher, watchdog
        watchdog.beat("opening the shards")
        self.shards = Shards.open(recipe.data.shards, recipe.data.tokenizer)
        self.tokenizer = Tokenizer.load(self.shards.tokenizer)
        self.course = course(recipe, self.shards)
        self.steps = self.course.steps(recipe.rows)
        if recipe.rows % ranks.data_ranks:
            raise RecipeError(
                f"batch_tokens give {recipe.rows} rows a step, which {ranks.data_ranks} ranks cannot share; change them"
            )
        self.begun = initial.origin(recipe)
        self.config = initial.config_of(recipe, self.begun)
        _check_vocabulary(self.config, self.shards)
        watchdog.beat("building the model")
        self.trainee = build(self.config, recipe, ranks)
        self.optims = optimizers(self.trainee.model, recipe.optimizer)
        self.checkpoints = Checkpoints(recipe.run / CHECKPOINTS, recipe.keep, ranks)
        self.held_out = held_out(self.shards, recipe.data.length)
        self.lengths = byte_lengths(self.tokenizer)
        self.peak = peak_flops(ranks.device) if ranks.first else None
        self._saved, self._saved_at = -1, time.monotonic()

    def go(self, until: int | None) -> Outcome:
        progress = self._begin()
        self.watchdog.beat("going on" if progress.step else "beginning")
        self.watchdog.follow(self.trainee.model.layers)
        journal = Journal(self.recipe.run, progress.step, ended=progress.step == self.steps) if self.ranks.first else None
        last = min(self.steps, until if until is not None else self.steps)
        try:
            with asked_to_stop() as asked:
                while progress.step < last and not self.ranks.agreed(asked()):
                    self._step(progress, journal)
                self._save(progress, journal)
                self.checkpoints.wait()
            if progress.step < self.steps:
                return Outcome(progress.step, self.steps, None)
            return Outcome(progress.step, self.steps, self._finish(progress, journal))
        finally:
            self.checkpoints.close()
            if journal is not None:
                journal.close()

    def _begin(self) -> Progress:
        self.watchdog.beat("loading")
        facts = self.checkpoints.load_newest(self.trainee.model, self.optims)
        if facts is None:
            initial.fill(self.trainee.model, self.begun, self.recipe.seed)
            self._note(f"{self.config.describe()}")
            self._note(f"{self.steps:,} steps of {self.recipe.batch_tokens:,} tokens on {self.ranks.world} rank(s)")
            return Progress()
        for line in changes(self.recipe, self.config, self.shards, facts):
            self._note(line)
        self._saved = facts["progress"]["step"]
        self._note(f"going on from step {facts['progress']['step']:,} of {self.steps:,}")
        return Progress.of(facts["progress"])

    def _step(self, progress: Progress, journal: Journal | None) -> None:
        recipe, ranks = self.recipe, self.ranks
        begun = time.monotonic()
        self.watchdog.beat(f"step {progress.step + 1}: data")
        micro_batches = list(
            self.course.micro_batches(progress.step, recipe.rows, recipe.micro_batch_rows, ranks.data_rank, ranks.data_ranks)
        )
        set_rates(self.optims, rate := share(recipe.schedule, progress.step, self.steps))
        self.watchdog.beat(f"step {progress.step + 1}: forward and backward")
        try:
            result = training_step(
                self.trainee, micro_batches, self.optims, ranks, precision=recipe.precision, clip_at=recipe.optimizer.clip,
                spikes=recipe.spikes, norms=progress.norms, watchdog=self.watchdog,
            )  # fmt: skip
        except NumericError as error:
            raise NumericError(f"step {progress.step + 1}: {error}; {self._way_on()}") from None
        seconds = time.monotonic() - begun
        progress.step += 1
        progress.tokens += recipe.batch_tokens
        progress.skipped += result.skipped
        progress.seconds += seconds
        if journal is not None:
            flops = sum(batch_flops(self.config, micro.batch.positions) for micro in micro_batches) * ranks.data_ranks
            line = self._line(progress, result, rate, seconds, flops)
            journal.step(line)
            self.watcher.step(line, self.steps)
        if progress.step % recipe.evaluate.every == 0 and progress.step < self.steps:
            self._evaluate(progress, journal)
        if self._due(progress.step):
            self._save(progress, journal)

    def _line(self, progress: Progress, result: StepResult, rate: float, seconds: float, flops: float) -> dict[str, Any]:
        line: dict[str, Any] = {
            "step": progress.step, "tokens": progress.tokens, "loss": result.loss, "norm": result.norm,
            "rate": rate * self.recipe.optimizer.rate, "tokens_s": self.recipe.batch_tokens / seconds,
        }  # fmt: skip
        if self.peak:
            line["mfu"] = flops / seconds / (self.peak * self.ranks.world)
        return line | ({"skipped": True} if result.skipped else {})

    def _evaluate(self, progress: Progress, journal: Journal | None) -> None:
        begun = time.monotonic()
        self.watchdog.beat(f"step {progress.step}: evaluation")
        plan = self.recipe.evaluate
        self._show(progress.step, self._bits(plan.tokens), journal)
        progress.seconds += time.monotonic() - begun

    def _show(self, step: int, bits: dict[str, float], journal: Journal | None) -> None:
        plan = self.recipe.evaluate
        texts = continuations(self.trainee, self.tokenizer, plan.prompts, plan.sample_tokens)
        if journal is not None:
            samples = dict(zip(plan.prompts, texts, strict=True))
            journal.evaluation(step, bits, samples)
            self.watcher.evaluation(step, bits, samples)

    def _bits(self, tokens: int | None) -> dict[str, float]:
        return bits_per_byte(
            self.trainee, self.held_out, self.lengths, self.ranks, tokens=tokens, at_once=self.recipe.micro_batch_rows
        )

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
        facts = {"progress": asdict(progress), **facts_of(self.recipe, self.config, self.shards)}
        self.checkpoints.save(progress.step, self.trainee.model, self.optims, facts)
        self._saved, self._saved_at = progress.step, time.monotonic()

    def _finish(self, progress: Progress, journal: Journal | None) -> Path:
        folder = self.recipe.run / MODEL
        self._note("measuring on all held-out text")
        self.watchdog.beat("measuring on all held-out text")
        bits = self._bits(None)
        self._show(progress.step, bits, journal)
        self.watchdog.beat("writing the model")
        facts = {
            "tokens": progress.tokens,
            "steps": progress.step,
            "skipped_steps": progress.skipped,
            "seconds": round(progress.seconds),
            "held_out_bits_per_byte": bits,
            "shards_sha256": self.shards.sha256,
            "data_sha256": self.shards.manifest["documents_sha256"],
            "recipe": as_json(replace(self.recipe, run=Path(), data=replace(self.recipe.data, shards=Path(), tokenizer=None))),
        }
        export(
            self.trainee.model, folder, self.ranks, tokenizer=self.shards.tokenizer, context=self.recipe.data.length, facts=facts
        )
        return folder

    def _way_on(self) -> str:
        steps = self.checkpoints.steps()
        where = f": it goes on from step {steps[0]:,}" if steps else ""
        return f"lower optimizer.rate, {self.recipe.optimizer.rate:g}, and start again{where}"

    def _note(self, line: str) -> None:
        if self.ranks.first:
            self.watcher.note(line)


def build(config: ModelConfig, recipe: Pretrain, ranks: Ranks) -> Trainee:
    """The network in memory of this rank's device, laid out for training; its weights are not set yet."""
    with torch.device("meta"):
        model = Transformer(config, TrainingKernels())
    trainee = parallelise(model, recipe.parallel, recipe.precision, ranks, z_loss=recipe.z_loss)
    trainee.to_empty(device=ranks.device)
    return trainee


def _check_vocabulary(config: ModelConfig, shards: Shards) -> None:
    if shards.vocab_size > config.vocab_size:
        raise MismatchError(
            f"the shards' tokenizer has {shards.vocab_size:,} ids and the model {config.vocab_size:,}; encode the documents with "
            "the model's tokenizer"
        )
