"""A model small enough to answer at once and whole enough to chat: random weights under the embedded model's tokenizer."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from mistral7b.checkpoint.adapters import write_adapter
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.config import ModelConfig
from mistral7b.model.lora import LoraSpec
from tests.checkpoint import made

CONTEXT = 512
TALKATIVE = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=48, n_heads=4, n_kv_heads=2, norm_eps=1e-5,
    vocab_size=8192, rope_theta=10_000.0, sliding_window=32,
)  # fmt: skip


def talkative(folder: Path, *, tokenizer: bool = True) -> Path:
    """A sharded HF folder of a context of CONTEXT tokens, with a v3 tokenizer of 8,192 ids."""
    folder.mkdir(parents=True)
    made.hf_sharded(folder, made.weights(TALKATIVE), TALKATIVE)
    if tokenizer:
        shutil.copyfile(str(files("mistral7b.models.tiny") / "tokenizer.model.v3"), folder / "tokenizer.model.v3")
    return folder


def adapter(model: Path, folder: Path, *, strength: float = 0.5, rank: int = 4) -> Path:
    """An adapter of `model`, random, in PEFT's layout."""
    config = open_checkpoint(model).config
    write_adapter(made.adapter(config, LoraSpec(rank, 2.0 * rank), seed=1, strength=strength), folder, "peft")
    return folder
