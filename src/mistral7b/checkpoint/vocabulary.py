"""The vocabulary of v0.1 and v0.2 extended to v3's: 768 control tokens come in behind the first three ids (FACTS 3.2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from mistral7b.checkpoint.convert import Dtype, Progress, Target, check_request, write_model
from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint, open_source, resolve_variant
from mistral7b.checkpoint.source import ClosesItself, TensorSource
from mistral7b.errors import CheckpointError, TokenizerError
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import V01, V03

OLD, NEW, FIRST = V01.vocab_size, V03.vocab_size, 3  # FIRST: behind <unk>, <s> and </s>
ADDED = NEW - OLD
_BY_ID = ("tok_embeddings.weight", "output.weight")


def extend_vocabulary(
    model: Path,
    target: Path,
    *,
    to: Target | None = None,
    dtype: Dtype = "keep",
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes the model at `model`, of 32,000 ids, as the folder `target` with 32,768 and the v3 tokenizer, in the format `to`
    (None: its own); returns the files written.

    Id i >= 3 becomes i + 768, which is the same piece in v3, with its row of embeddings and head; so a text encoded by v3 has
    the logits it had. The rows of the new ids are the mean of the pieces' rows: neither likely nor far from anything.
    Raises the errors of `convert`; CheckpointError for a model of another vocabulary, or quantised, or for a GGUF as target;
    TokenizerError if its pieces are not v3's.
    """
    checkpoint = open_checkpoint(model, force=force)
    chosen = to or ("hf" if checkpoint.format == "hf" else "consolidated")
    check_request(model, target, chosen, dtype)
    if chosen == "gguf":
        raise CheckpointError("a vocabulary is extended into a folder: take --to hf or consolidated, and convert that")
    if checkpoint.format == "quantized":
        raise CheckpointError(f"{model} is quantised; extend the original, and quantise that")
    if checkpoint.config.vocab_size != OLD:
        raise CheckpointError(f"{model} has {checkpoint.config.vocab_size:,} ids; only the {OLD:,} of v0.1 and v0.2 are extended")
    extended = _extended(checkpoint)
    with open_source(checkpoint, mapped=False) as source:
        rows = ExtendedSource(source)
        return write_model(rows, extended, target, to=chosen, dtype=dtype, force=force, progress=progress)


def _extended(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint as it will be read again, its tokenizer v3's, once that is seen to hold the same pieces."""
    v3 = Tokenizer.published("v3")
    if checkpoint.tokenizer is not None:
        old = Tokenizer.load(checkpoint.tokenizer)
        if old.vocab_size != OLD or any(old.piece(i) != v3.piece(i + ADDED) for i in range(FIRST, OLD)):
            raise TokenizerError(f"{checkpoint.tokenizer} is not the v1 tokenizer, whose pieces v3 has; its ids cannot be mapped")
    config = replace(checkpoint.config, vocab_size=NEW)
    variant, candidates = resolve_variant(config, checkpoint.path, None)
    return replace(
        checkpoint, config=config, tokenizer=v3.path, variant=variant, candidates=candidates, extended_from=OLD
    )  # fmt: skip


class ExtendedSource(ClosesItself):
    """A TensorSource of a model of OLD ids as one of NEW."""

    def __init__(self, source: TensorSource) -> None:
        self._source = source

    def names(self) -> list[str]:
        return self._source.names()

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self._source.shape(name)
        return (NEW, *shape[1:]) if name in _BY_ID else shape

    def dtype(self, name: str) -> torch.dtype:
        return self._source.dtype(name)

    def get(self, name: str) -> torch.Tensor:
        weight = self._source.get(name)
        if name not in _BY_ID:
            return weight
        mean = weight[FIRST:].double().mean(0, keepdim=True).to(weight.dtype)
        return torch.cat((weight[:FIRST], mean.expand(ADDED, -1), weight[FIRST:]))

    def close(self) -> None:
        self._source.close()
