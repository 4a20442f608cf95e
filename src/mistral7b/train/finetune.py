"""Fine-tuning: a model made one's own from examples, by a recipe; the same loop as pre-training's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mistral7b.checkpoint.adapter import Adapter
from mistral7b.checkpoint.adapters import write_adapter
from mistral7b.checkpoint.companions import positions_of
from mistral7b.checkpoint.configs import training_facts
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import MismatchError, RecipeError
from mistral7b.model.lora import adapter_scales, adapter_weights
from mistral7b.recipe import as_json
from mistral7b.store.names import resolve
from mistral7b.tokens import chat
from mistral7b.train.adapted import adapter_only, build
from mistral7b.train.base import published, tokenizer_of
from mistral7b.train.batches import Course, MicroBatch, check_shares, micro_batches
from mistral7b.train.evaluate import continuations, mean_loss, preferences
from mistral7b.train.examples import Examples, read_examples
from mistral7b.train.export import export
from mistral7b.train.finetune_recipe import Finetune
from mistral7b.train.flops import batch_flops
from mistral7b.train.going_on import check_architecture, differences
from mistral7b.train.journal import key_of
from mistral7b.train.preference import PreferenceTrainee
from mistral7b.train.ranks import Ranks
from mistral7b.train.run import Measured, Outcome, Progress, Watcher, run_task
from mistral7b.train.watchdog import Watchdog

ADAPTER, MODEL = "adapter", "model"
_FIXED = ("batch_rows", "lora", "method", "model", "objective", "quantize")  # of a run that goes on


def finetune(recipe: Finetune, watcher: Watcher, *, device: torch.device | None = None, until: int | None = None) -> Outcome:
    """Trains by `recipe` from its newest checkpoint, or from the beginning; `until` ends after that step, saved.

    Leaves run/adapter in PEFT's layout, or run/model after a full fine-tune. Raises what `pretrain` does, and ChatError's kin
    as DataError: an example that no template can hold, with file and line.
    """
    return run_task(recipe, partial(_Finetuning, recipe), watcher, device, until)


class _Finetuning:
    """All weights, or an adapter beside the frozen ones, on examples or on pairs of them."""

    def __init__(self, recipe: Finetune, ranks: Ranks, watchdog: Watchdog) -> None:
        self.recipe, self.ranks = recipe, ranks
        check_shares(recipe.batch_rows, "batch_rows are", ranks)
        watchdog.beat("opening the model")
        self.checkpoint = open_checkpoint(resolve(recipe.model))
        self.tokenizer = tokenizer_of(recipe, self.checkpoint)
        watchdog.beat("reading the examples")
        self.examples: Examples = read_examples(recipe, self.tokenizer, lambda: watchdog.beat("reading the examples"))
        self.steps = self.examples.train.rows // recipe.batch_rows
        if not self.steps:
            raise RecipeError(
                f"the examples are {self.examples.train.rows:,} rows and a step takes {recipe.batch_rows:,}; lower batch_rows or "
                "raise epochs"
            )
        watchdog.beat("building the model")
        self.trainee = build(self.checkpoint, recipe, ranks, lambda: watchdog.beat("building the model"))
        self.trained = self.trainee.model if recipe.method == "full" else adapter_only(self.trainee.model)
        self.measures = "held-out loss" if recipe.objective == "sft" else "held-out preferences"

    def begin(self) -> Iterator[str]:
        recipe, count = self.recipe, sum(weight.numel() for weight in self.trained.parameters())
        yield self.checkpoint.config.describe()
        yield self.examples.said
        yield f"{count:,} weights are trained"
        yield f"{self.steps:,} steps of {recipe.batch_rows:,} rows on {self.ranks.world} rank(s)"

    def facts(self) -> dict[str, Any]:
        config = self.checkpoint.config.to_params()
        return {"recipe": as_json(self.recipe), "config": config, "examples_sha256": self.examples.sha256}

    def changes(self, facts: dict[str, Any]) -> Iterator[str]:
        """What decides the order of reading, and the shapes of what is trained, must be as they were."""
        now, then, run = self.facts(), facts, self.recipe.run
        check_architecture(run, self.checkpoint.config, facts)
        if then["examples_sha256"] != now["examples_sha256"]:
            raise MismatchError(f"{run} was begun with other examples, or reads them otherwise; name another run folder")
        for name in _FIXED:
            if now["recipe"][name] != (before := then["recipe"].get(name)):
                raise MismatchError(f"{run} was begun with {name} {before}; keep it, or name another run folder")
        yield from differences(now["recipe"], then["recipe"], ("run", "parallel", "data"))

    def micro_batches(self, step: int) -> Sequence[MicroBatch]:
        found = micro_batches(self.examples.train, step, self.recipe.batch_rows, self.recipe.micro_batch_rows, self.ranks)
        if self.recipe.objective == "dpo":  # a pair counts once, however long
            found = [replace(micro, wanted=(len(micro.batch.borders) - 1) // 2) for micro in found]
        return found

    def turns(self, step: int) -> bool:
        train = self.examples.train
        return isinstance(train, Course) and train.turns(step, self.recipe.batch_rows)

    def flops(self, micro: MicroBatch) -> float:
        return self.recipe.work * batch_flops(self.checkpoint.config, micro.batch.positions, micro.targets)

    def measure(self, *, whole: bool) -> Measured:
        plan, at_once = self.recipe.evaluate, self.recipe.micro_batch_rows
        most = None if whole else max(1, plan.tokens // self.recipe.data.length)
        figures: dict[str, float] = {}
        for name, rows in self.examples.held_out.items():
            if isinstance(self.trainee, PreferenceTrainee):
                found = preferences(self.trainee, rows, self.ranks, most=most)
                figures |= {f"{name}: {what}": value for what, value in found.items()}
            else:
                figures[name] = mean_loss(self.trainee, rows, self.ranks, most=most, at_once=at_once)
        prompts = [self._prompt(text) for text in plan.prompts]
        texts = continuations(self.trainee, self.tokenizer, prompts, plan.sample_tokens)
        return figures, dict(zip(plan.prompts, texts, strict=True))

    def _prompt(self, text: str) -> list[int]:
        """A user's message, or where the examples are plain text the beginning of one."""
        if not self.examples.has_dialogues:
            return self.tokenizer.encode(text, bos=True)
        return chat.render(self.tokenizer, [{"role": "user", "content": text}]).ids

    def finish(self, progress: Progress, figures: dict[str, float]) -> Path:
        recipe, model = self.recipe, self.trainee.model
        made = training_facts(self.checkpoint.path)
        facts = {
            "base": recipe.model,
            **({"base_training": made} if made else {}),
            **progress.told(),
            "ranks": self.ranks.world,
            "device": self.ranks.device_name,
            key_of(self.measures): figures,
            "examples_sha256": self.examples.sha256,
            "recipe": as_json(_told(recipe)),
        }
        if recipe.method == "full":
            folder = recipe.run / MODEL
            context = self.checkpoint.trained_context or positions_of(self.checkpoint)
            assert self.checkpoint.tokenizer is not None
            export(
                model, folder, self.ranks, tokenizer=self.checkpoint.tokenizer, context=context, facts=facts, base=self.checkpoint
            )
            return folder
        folder = recipe.run / ADAPTER
        if self.ranks.first:
            weights, scales = adapter_weights(model, 0), adapter_scales(model, 0)
            variant = published(recipe)
            base = variant.hub_id if variant and variant.hub_id else recipe.model
            adapter = Adapter(model.config, weights, scales, recipe.lora.dropout, base)
            write_adapter(adapter, folder, "peft", facts={"training": facts}, force=True)
        self.ranks.wait()
        return folder


def _told(recipe: Finetune) -> Finetune:
    """The recipe as what it leaves tells of it: files by their names, since folders are this machine's."""
    data = recipe.data
    train = tuple(replace(each, path=Path(each.path.name)) for each in data.train)
    held_out, tools = tuple(Path(path.name) for path in data.held_out), data.tools and Path(data.tools.name)
    lora = replace(recipe.lora, adapter=recipe.lora.adapter and Path(recipe.lora.adapter.name))
    return replace(recipe, run=Path(), lora=lora, data=replace(data, train=train, held_out=held_out, tools=tools))
