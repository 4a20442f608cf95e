"""The model that a fine-tune begins from, as far as it is needed: its tokenizer, its files."""

from __future__ import annotations

from pathlib import Path

from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint
from mistral7b.errors import TokenizerError
from mistral7b.store.names import resolve
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.train.finetune_recipe import Finetune
from mistral7b.variants import VARIANTS, Variant


def published(recipe: Finetune) -> Variant | None:
    """The published model that `model` names, by its name or on the hub; None for a folder or a file."""
    by_hub = {variant.hub_id: variant for variant in VARIANTS.values() if variant.hub_id}
    return VARIANTS.get(recipe.model) or (None if Path(recipe.model).exists() else by_hub.get(recipe.model))


def tokenizer_of(recipe: Finetune, checkpoint: Checkpoint | None = None) -> Tokenizer:
    """The tokenizer of the base: its file, or of a published model, which need not be here, the one of its generation.

    Raises TokenizerError for a base without one.
    """
    variant = published(recipe)
    if checkpoint is None and variant is not None:
        return Tokenizer.published(recipe.tokenizer_version or variant.tokenizer)
    checkpoint = checkpoint or open_checkpoint(resolve(recipe.model))
    if checkpoint.tokenizer is None:
        raise TokenizerError(f"{recipe.model} has no tokenizer, and examples are text; add its tokenizer.model")
    return Tokenizer.load(checkpoint.tokenizer, recipe.tokenizer_version)
