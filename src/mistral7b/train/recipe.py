"""The recipe of a pre-training run, as its YAML file spells it, and what it shares with other runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mistral7b.config import ModelConfig

Precision = Literal["fp32", "bf16"]
OptimizerName = Literal["adamw", "adamw8bit", "paged_adamw8bit", "muon"]


def positive(**numbers: float) -> None:
    """Raises ValueError for one that is not."""
    for name, number in numbers.items():
        if number <= 0:
            raise ValueError(f"{name} must be above 0, not {number:g}")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a continued model does otherwise than the one it begins from: how a v0.1 becomes a v0.2.

    `sliding_window: none` takes the window away.
    """

    rope_theta: float | None = None
    sliding_window: int | Literal["none"] | None = None


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the run with its own mixture: passes over each source of the shards."""

    epochs: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Data:
    """`length` tokens a row; the stages follow one another, and together are the run. Without any, the epochs of the shards."""

    shards: Path
    length: int
    tokenizer: Path | None = None
    seed: int = 1
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        positive(length=self.length)


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW; the same with moments of 8 bits, which in the paged form leave a GPU when its memory is short; or Muon for the
    matrices inside the layers with AdamW for the rest.

    `rate` is the peak learning rate; `scales` multiply it for "embeddings", "head" and "norms".
    """

    name: OptimizerName = "adamw"
    rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-5
    weight_decay: float = 0.1
    clip: float = 1.0
    scales: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        positive(rate=self.rate, eps=self.eps, clip=self.clip)
        if unknown := sorted(self.scales.keys() - {"embeddings", "head", "norms"}):
            raise ValueError(f"scales has {unknown[0]!r}; it knows embeddings, head and norms")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over the run: a linear rise over `warmup` steps, then `cosine` down to `final` of the peak, or
    `trapezoid`: level, then linear down to `final` over the last `decay` share of the run."""

    name: Literal["cosine", "trapezoid"] = "cosine"
    warmup: int = 2000
    final: float = 0.1
    decay: float = 0.2

    def __post_init__(self) -> None:
        if self.warmup < 0 or not 0 <= self.final <= 1 or not 0 < self.decay <= 1:
            raise ValueError("warmup counts steps from 0, final is a share from 0 to 1, decay one above 0")


@dataclass(frozen=True, kw_only=True)
class Spikes:
    """A step whose gradient norm is over `factor` times its running mean changes no weight; `most` in a row stop the run."""

    factor: float = 10.0
    most: int = 20


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """How the ranks divide the work: `tensor` of them share each matrix; `replicate` groups hold the model each, in shards."""

    tensor: int = 1
    replicate: int = 1
    recompute: bool = False  # activation checkpointing: keep a layer's input, make the rest again
    compile: bool = False

    def __post_init__(self) -> None:
        positive(tensor=self.tensor, replicate=self.replicate)


@dataclass(frozen=True, kw_only=True)
class Keep:
    """A checkpoint every `every` steps and every `minutes`; the newest `newest` stay, and those at multiples of `forever`."""

    every: int = 500
    minutes: float | None = None
    newest: int = 3
    forever: int | None = None

    def __post_init__(self) -> None:
        positive(every=self.every, newest=self.newest)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Every `every` steps: held-out bits per byte over `tokens` of each source, and `sample_tokens` after each prompt."""

    every: int = 500
    tokens: int = 65_536
    prompts: tuple[str, ...] = ()
    sample_tokens: int = 60

    def __post_init__(self) -> None:
        positive(every=self.every, tokens=self.tokens)


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the recipes of all kinds of runs have in common. `run` is the folder that holds all of a run."""

    run: Path
    micro_batch_rows: int = 1
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    spikes: Spikes = Spikes()
    parallel: Parallel = Parallel()
    keep: Keep = Keep()
    evaluate: Evaluate = Evaluate()
    precision: Precision = "bf16"
    hang_seconds: float = 600.0
    seed: int = 1

    def __post_init__(self) -> None:
        positive(micro_batch_rows=self.micro_batch_rows, hang_seconds=self.hang_seconds)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Training):
    """A whole run. Exactly one of `model` (new weights) and `init_from` (a model folder to go on from) is given.

    `batch_tokens` a step, `micro_batch_rows` rows in one forward of a rank.
    """

    data: Data
    batch_tokens: int
    model: ModelConfig | None = None
    init_from: str | None = None
    changes: Changes = Changes()
    z_loss: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(batch_tokens=self.batch_tokens)
        if (self.model is None) == (self.init_from is None):
            raise ValueError("give one of model (new weights) and init_from (a model to go on from)")
        if self.batch_tokens % self.data.length:
            raise ValueError(f"batch_tokens {self.batch_tokens:,} is no multiple of data.length {self.data.length:,}")
        if self.changes != Changes() and self.init_from is None:
            raise ValueError("changes are for init_from; a new model has its numbers under model")

    @property
    def rows(self) -> int:
        """Rows of a step, of all ranks together."""
        return self.batch_tokens // self.data.length
