"""The recipe of a fine-tuning run, as its YAML file spells it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mistral7b.train.recipe import Optimizer, Schedule, Training, positive
from mistral7b.variants import TokenizerVersion

__all__ = ["Examples", "Finetune", "FinetuneData", "FinetuneOptimizer", "FinetuneSchedule", "Lora", "Preference"]

Target = Literal["wq", "wk", "wv", "wo", "w1", "w2", "w3"]
ALL: tuple[Target, ...] = get_args(Target)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685): W + alpha / rank B A on the `targets` of every layer. `adapter` goes on with one."""

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[Target, ...] = ALL
    adapter: Path | None = None

    def __post_init__(self) -> None:
        positive(rank=self.rank, alpha=self.alpha)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a share from 0 to below 1, not {self.dropout:g}")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets names each matrix once, of {', '.join(ALL)}")


@dataclass(frozen=True, kw_only=True)
class Examples:
    """A file of examples, JSONL or JSON, seen `epochs` times, after all files of lower stages and mixed with those of its own."""

    path: Path
    epochs: float = 1.0
    stage: int = 1

    def __post_init__(self) -> None:
        positive(epochs=self.epochs, stage=self.stage)


@dataclass(frozen=True, kw_only=True)
class FinetuneData:
    """Examples as rows of at most `length` tokens, several in a row with `packing`, which never see one another.

    The loss falls on what the assistant says, or on `all`. An example over `length` is refused, dropped or cut. `tools` is a
    JSON file of tools by service, for records that name services.
    """

    train: tuple[Examples, ...]
    held_out: tuple[Path, ...] = ()
    tools: Path | None = None
    length: int = 2048
    packing: bool = True
    too_long: Literal["refuse", "drop", "cut"] = "refuse"
    loss_on: Literal["assistant", "all"] = "assistant"
    seed: int = 1

    def __post_init__(self) -> None:
        positive(length=self.length)
        if not self.train:
            raise ValueError("train names no file")


@dataclass(frozen=True, kw_only=True)
class FinetuneOptimizer(Optimizer):
    """As for pre-training, with the numbers usual for a trained model."""

    rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FinetuneSchedule(Schedule):
    """As for pre-training, with a short rise."""

    warmup: int = 10


@dataclass(frozen=True, kw_only=True)
class Preference:
    """Direct preference optimisation (arXiv 2305.18290); `beta` holds the model to the reference, which is the base."""

    beta: float = 0.1

    def __post_init__(self) -> None:
        positive(beta=self.beta)


@dataclass(frozen=True, kw_only=True)
class Finetune(Training):
    """A whole run from the model that `model` names: `lora` trains adapters beside frozen weights, `full` all weights.

    A step takes `batch_rows` rows, `micro_batch_rows` in one forward of a rank. `precision` is the type that weights are
    computed in; frozen ones are held so, or packed: those of a packed model, and of any other as `quantize` says.
    """

    model: str
    data: FinetuneData
    method: Literal["lora", "full"] = "lora"
    objective: Literal["sft", "dpo"] = "sft"
    lora: Lora = Lora()
    dpo: Preference = Preference()
    quantize: Literal["int8", "int4", "nf4"] | None = None
    tokenizer_version: TokenizerVersion | None = None
    batch_rows: int = 64
    optimizer: FinetuneOptimizer = FinetuneOptimizer()
    schedule: FinetuneSchedule = FinetuneSchedule()

    @property
    def work(self) -> float:
        """The arithmetic of a step over that of one that trains all weights. Frozen matrices get no gradient: two of three
        products; a reference forward is one more."""
        return 2 / 3 if self.method == "lora" and self.objective == "sft" else 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(batch_rows=self.batch_rows)
        if self.method == "full" and (self.lora != Lora() or self.quantize is not None):
            raise ValueError("lora and quantize are for method: lora; a full fine-tune trains every weight as it is")
        if self.method == "full" and self.objective == "dpo":
            raise ValueError("objective: dpo needs method: lora, whose base is the reference")
        if self.lora.adapter is not None and replace(self.lora, adapter=None, dropout=0.0) != Lora():
            raise ValueError("lora.adapter goes on with its own rank, alpha and targets; leave those out")
        if self.method == "lora" and self.optimizer.scales:
            raise ValueError("optimizer.scales are for method: full; an adapter's weights have one rate")
        if self.objective == "dpo" and (self.data.loss_on != "assistant" or not self.data.packing):
            raise ValueError("data.loss_on and data.packing are for objective: sft; pairs are learned whole, each a row")
        if self.method == "lora" and self.parallel.tensor > 1:
            raise ValueError("parallel.tensor is for method: full; adapters train on shards of the base")
        if self.method == "lora" and self.optimizer.name == "muon":
            raise ValueError("optimizer muon is for whole matrices; adapters train with adamw")
