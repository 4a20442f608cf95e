"""Prompts: what a caller hands in, checked, before anything runs."""

from __future__ import annotations

import operator
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mistral7b.checkpoint.folder import Checkpoint
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import RequestError


def as_prompts(prompts: Any) -> list[str | Sequence[int]]:
    """One prompt or many, as text or as ids, as a list of prompts; raises RequestError for anything else, or for none."""
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, bytes | Mapping) or not isinstance(prompts, Iterable):
        raise RequestError(f"a prompt is text or a list of token ids, not a {type(prompts).__name__}")
    several = list(prompts)
    if not several:
        raise RequestError("the prompt is empty; give at least one token")
    nested = isinstance(several[0], str | list | tuple) or getattr(several[0], "ndim", 0) > 0
    return several if nested else [several]


def checked_ids(ids: Iterable[Any], vocab_size: int) -> list[int]:
    """`ids`, of any kind of integers, as a list; raises RequestError for none, or for one that is no id."""
    found: list[int] = []
    for id in ids:
        try:
            found.append(operator.index(id))
        except TypeError:
            found.append(-1)
        if isinstance(id, bool) or not 0 <= found[-1] < vocab_size:
            shown = textwrap.shorten(repr(id), 40)
            raise RequestError(f"{shown} is not a token id of this model; ids are integers from 0 to {vocab_size - 1}")
    if not found:
        raise RequestError("the prompt is empty; give at least one token")
    return found


def check_room(length: int, max_model_len: int, *, answer: bool = True) -> None:
    """Raises RequestError if a prompt of `length` tokens does not fit, with room for an `answer` if one is wanted."""
    if length + answer > max_model_len:
        what = "which leaves no room for an answer within" if answer else "more than"
        raise RequestError(
            f"the prompt has {length:,} tokens, {what} max_model_len {max_model_len:,}; shorten it or raise max_model_len"
        )


def check_params(params: SamplingParams, vocab_size: int, *, has_tokenizer: bool) -> None:
    """Raises RequestError for parameters that a model of `vocab_size` ids cannot follow."""
    if params.stop and not has_tokenizer:
        raise RequestError("stop strings need a tokenizer, and this model folder has none; use stop_token_ids")
    for name, ids in (("logit_bias", params.logit_bias or ()), ("stop_token_ids", params.stop_token_ids)):
        for id in ids:
            if id >= vocab_size:
                raise RequestError(f"{name}: {id} is not a token id of this model; ids end at {vocab_size - 1}")


def length_notes(length: int, checkpoint: Checkpoint, max_model_len: int) -> list[str]:
    """What to beware of with a prompt of `length` tokens: that the model was not trained at such lengths."""
    trained, window = checkpoint.trained_context, checkpoint.config.sliding_window
    if trained is None or length <= trained:
        return []
    reach = f", and in theory can carry information over {checkpoint.config.n_layers * window:,}" if window else ""
    return [
        f"the prompt has {length:,} tokens: this model was trained at {trained:,}, is configured for "
        f"{checkpoint.max_positions or max_model_len:,}{reach}; expect worse answers past what it was trained at"
    ]
