"""Pairings that contradict themselves: config against weights, tokenizer, named variant and the published models."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from mistral7b.config import ModelConfig
from mistral7b.errors import MismatchError
from mistral7b.variants import VARIANTS, matching

# One published model an architecture: base and instruct share theirs.
_PUBLISHED = {name: VARIANTS[name].config for name in ("v0.1", "v0.2", "v0.3")}


# Fine-tunes add a handful of ids, or round the rows up to a multiple of 64; v1 and v3 lie 768 apart.
_ADDED_IDS, _CONTROL = 64, 768


def check(
    config: ModelConfig,
    *,
    embedding_rows: int | None = None,
    tokenizer_vocab: int | None = None,
    variant: str | None = None,
    extended_from: int | None = None,
    force: bool = False,
) -> list[str]:
    """Raises MismatchError (one line) for the first contradiction; with `force` they come back as notes, one line each.

    A few rows more than the tokenizer has ids are no contradiction but a note: fine-tunes add tokens of their own.

    `embedding_rows` are the rows of tok_embeddings.weight, `tokenizer_vocab` the ids the tokenizer knows, `variant` the name
    the user gave, `extended_from` the vocabulary the model had before v3's control tokens came in. What is not given is not
    checked.
    """
    found: list[str] = []
    notes: list[str] = []
    if embedding_rows is not None and embedding_rows != config.vocab_size:
        found.append(f"the config says vocabulary {config.vocab_size}, the weights hold {embedding_rows} embeddings")
    if tokenizer_vocab is not None and tokenizer_vocab != config.vocab_size:
        if 0 < config.vocab_size - tokenizer_vocab <= _ADDED_IDS:
            added = config.vocab_size - tokenizer_vocab
            notes.append(f"the model has {added} ids that the tokenizer does not know (a fine-tune's own): they give no text")
        else:
            found.append(
                f"the tokenizer knows {tokenizer_vocab} ids, the model {config.vocab_size}: one belongs to another model"
            )
    if variant is not None:
        found += _against_variant(config, variant)
    if extended_from is not None and config.vocab_size == extended_from + _CONTROL:
        config = replace(config, vocab_size=extended_from)
    if near := near_misses(config):
        found.append(f"no published Mistral 7B has this config: it is {', '.join(near)}")
    return notes + settle(found, force=force)


def settle(found: list[str], *, force: bool) -> list[str]:
    """Raises MismatchError for the first contradiction `found`, or returns them all as notes if forced."""
    if found and not force:
        raise MismatchError(f"{found[0]}; correct the files, or pass --force to load it nevertheless")
    return [f"forced: {line}" for line in found]


def differences(left: ModelConfig, right: ModelConfig) -> list[tuple[str, Any, Any]]:
    """(field, value in `left`, value in `right`) for every field in which two configs differ."""
    pairs = ((field.name, getattr(left, field.name), getattr(right, field.name)) for field in fields(ModelConfig))
    return [(name, a, b) for name, a, b in pairs if a != b]


def near_misses(config: ModelConfig) -> list[str]:
    """The published models that a config of the exact 7B shape misses by one field, as "v0.1 but for rope_theta ..."

    A vocabulary that no published model has is an extended one (fine-tunes add tokens) and says nothing. A config that
    differs in two fields is somebody's own model. Both are let through.
    """
    if matching(config):
        return []
    known_vocab = any(config.vocab_size == published.vocab_size for published in _PUBLISHED.values())
    lines = []
    for name, published in _PUBLISHED.items():
        compared = config if known_vocab else replace(config, vocab_size=published.vocab_size)
        differing = differences(compared, published)
        if len(differing) == 1 and differing[0][0] in ("vocab_size", "rope_theta", "sliding_window", "norm_eps"):
            field, ours, theirs = differing[0]
            lines.append(f"{name} but for {field} {show(ours)} (published: {show(theirs)})")
    return lines


def show(value: float | int | None) -> str:
    """A config value for a message: 1000000.0 -> "1,000,000", None -> "none", 1e-5 -> "1e-05"."""
    if value is None:
        return "none"
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _against_variant(config: ModelConfig, name: str) -> list[str]:
    if name not in VARIANTS:
        raise MismatchError(f"there is no variant {name!r}; the published ones are {', '.join(VARIANTS)}")
    return [
        f"{name} has {field} {show(theirs)}, this model {show(ours)}"
        for field, ours, theirs in differences(config, VARIANTS[name].config)
    ]
