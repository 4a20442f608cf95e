"""Pre-training: a model from token shards, by a recipe; the same on one process and on many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mistral7b.config import ModelConfig
from mistral7b.data.shards import Shards
from mistral7b.errors import MismatchError
from mistral7b.kernels.training_room import TrainingKernels
from mistral7b.model.transformer import Transformer
from mistral7b.recipe import as_json
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train import initial
from mistral7b.train.batches import MicroBatch, check_shares, course, micro_batches
from mistral7b.train.evaluate import bits_per_byte, byte_lengths, continuations, held_out
from mistral7b.train.export import export
from mistral7b.train.flops import batch_flops
from mistral7b.train.going_on import changes, facts_of
from mistral7b.train.parallel import parallelise
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Pretrain
from mistral7b.train.run import Measured, Outcome, Progress, Watcher, run_task
from mistral7b.train.trainee import Trainee
from mistral7b.train.watchdog import Watchdog

MODEL = "model"


def pretrain(recipe: Pretrain, watcher: Watcher, *, device: torch.device | None = None, until: int | None = None) -> Outcome:
    """Trains by `recipe` from its newest checkpoint, or from the beginning; `until` ends after that step, saved.

    SIGTERM and Ctrl-C save and stop. Raises RecipeError, DataError and MismatchError for what does not fit together,
    NumericError for a loss that is not finite, CheckpointError for a disk that takes no more, RanksError for a rank that is
    gone; what was saved stays.
    """
    return run_task(recipe, partial(_Pretraining, recipe), watcher, device, until)


class _Pretraining:
    """The whole model on the rows of token shards."""

    measures = "held-out bits per byte"

    def __init__(self, recipe: Pretrain, ranks: Ranks, watchdog: Watchdog) -> None:
        self.recipe, self.ranks = recipe, ranks
        watchdog.beat("opening the shards")
        self.shards = Shards.open(recipe.data.shards, recipe.data.tokenizer)
        self.tokenizer = Tokenizer.load(self.shards.tokenizer)
        self.course = course(recipe, self.shards)
        self.steps = self.course.steps(recipe.rows)
        check_shares(recipe.rows, "batch_tokens give", ranks)
        self.begun = initial.origin(recipe)
        self.config = initial.config_of(recipe, self.begun)
        _check_vocabulary(self.config, self.shards)
        watchdog.beat("building the model")
        self.trainee = build(self.config, recipe, ranks)
        self.held_out = held_out(self.shards, recipe.data.length)
        self.lengths = byte_lengths(self.tokenizer)

    @property
    def trained(self) -> nn.Module:
        return self.trainee.model

    def begin(self) -> Iterator[str]:
        initial.fill(self.trainee.model, self.begun, self.recipe.seed)
        yield self.config.describe()
        yield f"{self.steps:,} steps of {self.recipe.batch_tokens:,} tokens on {self.ranks.world} rank(s)"

    def facts(self) -> dict[str, Any]:
        return facts_of(self.recipe, self.config, self.shards)

    def changes(self, facts: dict[str, Any]) -> Iterator[str]:
        return changes(self.recipe, self.config, self.shards, facts)

    def micro_batches(self, step: int) -> Sequence[MicroBatch]:
        return micro_batches(self.course, step, self.recipe.rows, self.recipe.micro_batch_rows, self.ranks)

    def turns(self, step: int) -> bool:
        return self.course.turns(step, self.recipe.rows)

    def flops(self, micro: MicroBatch) -> float:
        return batch_flops(self.config, micro.batch.positions, micro.targets)

    def measure(self, *, whole: bool) -> Measured:
        plan = self.recipe.evaluate
        bits = bits_per_byte(
            self.trainee, self.held_out, self.lengths, self.ranks, tokens=None if whole else plan.tokens,
            at_once=self.recipe.micro_batch_rows,
        )  # fmt: skip
        prompts = [self.tokenizer.encode(prompt, bos=True) for prompt in plan.prompts]
        texts = continuations(self.trainee, self.tokenizer, prompts, plan.sample_tokens)
        return bits, dict(zip(plan.prompts, texts, strict=True))

    def finish(self, progress: Progress, figures: dict[str, float]) -> Path:
        folder = self.recipe.run / MODEL
        facts = {
            **progress.told(),
            "ranks": self.ranks.world,
            "device": self.ranks.device_name,
            "held_out_bits_per_byte": figures,
            "shards_sha256": self.shards.sha256,
            "data_sha256": self.shards.manifest["documents_sha256"],
            "recipe": as_json(replace(self.recipe, run=Path(), data=replace(self.recipe.data, shards=Path(), tokenizer=None))),
        }
        export(
            self.trainee.model, folder, self.ranks, tokenizer=self.shards.tokenizer, context=self.recipe.data.length, facts=facts,
            base=self.begun,
        )  # fmt: skip
        return folder


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
