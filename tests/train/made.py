"""A small run for the tests: shards of made-up stories, a network of two layers, a recipe of a few steps."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mistral7b.config import ModelConfig
from mistral7b.store.names import resolve
from mistral7b.train.pretrain import pretrain as run_here
from mistral7b.train.ranks import Ranks
from mistral7b.train.recipe import Data, Evaluate, Keep, Optimizer, Pretrain, Schedule
from mistral7b.train.run import Outcome
from tests.data import made

CONFIG = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=64, n_heads=4, n_kv_heads=2, norm_eps=1e-5, vocab_size=8192,
    rope_theta=10_000.0, sliding_window=24,
)  # fmt: skip
LENGTH = 64
ALONE = Ranks(0, 1, torch.device("cpu"))


def documents(seed: int, count: int) -> list[list[int]]:
    """Whole documents of 5 to 100 ids, each a pattern that repeats, so that there is something to learn."""
    dice = random.Random(seed)
    found = []
    for _ in range(count):
        pattern = [dice.randrange(1027, 1100) for _ in range(dice.randint(2, 6))]
        found.append([made.BOS, *(pattern * 60)[: dice.randint(5, 100)], made.EOS])
    return found


def shards(folder: Path, epochs: float = 1.0) -> Path:
    """Two sources in `folder`, and the tokenizer of `tiny` beside them: 22 steps an epoch."""
    held_out = {"stories": [documents(3, 20)], "books": [documents(4, 20)]}
    made.shards(folder, {"stories": [documents(1, 60), documents(2, 60)], "books": [documents(5, 80)]}, held_out, epochs=epochs)
    shutil.copyfile(resolve("tiny") / "tokenizer.model.v3", folder / "tokenizer.model.v3")
    return folder


def recipe(run: Path, folder: Path, **changes: Any) -> Pretrain:
    """Steps of 8 rows of 64 tokens, in fp32."""
    base = Pretrain(
        run=run, data=Data(shards=folder, length=LENGTH), batch_tokens=8 * LENGTH, micro_batch_rows=2, model=CONFIG,
        optimizer=Optimizer(rate=3e-3), schedule=Schedule(warmup=4), keep=Keep(every=4), precision="fp32",
        evaluate=Evaluate(every=8, tokens=4 * LENGTH, prompts=("Once",), sample_tokens=3), hang_seconds=60.0,
    )  # fmt: skip
    return replace(base, **changes)


def pretrain(recipe: Pretrain, until: int | None = None) -> Outcome:
    """The run in this process, told to nobody; on one thread, as the tests' ranks compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run_here(recipe, Silent(), until=until)
    finally:
        torch.set_num_threads(threads)


class Silent:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.evaluations: list[tuple[int, dict[str, float], dict[str, str]]] = []

    def note(self, line: str) -> None:
        self.notes.append(line)

    def step(self, line: dict[str, Any], steps: int) -> None:
        assert line["step"] <= steps
        self.lines.append(line)

    def evaluation(self, step: int, title: str, figures: dict[str, float], samples: dict[str, str]) -> None:
        assert title
        self.evaluations.append((step, figures, samples))
