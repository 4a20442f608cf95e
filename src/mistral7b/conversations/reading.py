"""A conversation's file read back: nothing in it is believed, and none of its numbers read, before it has been checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mistral7b.conversations.file import CACHE_NAMES, check_place, opened
from mistral7b.conversations.fingerprint import Fingerprint
from mistral7b.conversations.kept import Kept
from mistral7b.errors import ChatError, ConfigError, MismatchError
from mistral7b.model.snapshot import KVState, first_kept
from mistral7b.tokens.messages import read_messages
from mistral7b.tokens.tools import read_tools

_KEYS = {"messages", "tools", "safe_prompt", "reply_at", "computed", "model"}
_CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}


def load(path: Path, model: Fingerprint) -> Kept:
    """The conversation in `path`, to go on with `model`; every name, shape, type and number is checked.

    Raises StoreError for a file that is missing or no conversation, CheckpointError for a damaged one and MismatchError for
    one of another model, each one line that says what to do.
    """
    check_place(path)
    with opened(path) as (file, header):
        words = _words(header)
        if words["model"] != model:
            raise MismatchError(
                f"{path} was held with {words['model']}, and this is {model}; name its model with -m, or another file"
            )
        ids = _ids(file, model.config.vocab_size)
        if ids and (not words["messages"] or words["messages"][-1]["role"] != "assistant"):
            raise ValueError("its ids are of no reply")
        return Kept(
            messages=words["messages"], tools=words["tools"], safe_prompt=words["safe_prompt"], ids=ids,
            reply_at=_within(words["reply_at"], len(ids)), state=_state(file, ids, words["computed"], model),
        )  # fmt: skip


def _words(header: dict[str, str]) -> dict[str, Any]:
    """The JSON of the header, with messages and tools checked and its model read. Raises ValueError."""
    try:
        words = json.loads(header.get("conversation", ""))
        if not isinstance(words, dict) or words.keys() != _KEYS or not isinstance(words["safe_prompt"], bool):
            raise ValueError("what it says is malformed")
        if not isinstance(words["messages"], list) or not isinstance(words["tools"], list | None):
            raise ValueError("its messages or tools are no list")
        if words["messages"]:
            read_messages(words["messages"], [])
        words["tools"] = None if words["tools"] is None else read_tools(words["tools"])
        words["model"] = Fingerprint.from_json(words["model"])
    except (ChatError, ConfigError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return words


def _ids(file: Any, vocabulary: int) -> tuple[int, ...]:
    held = file.get_slice("ids")
    if held.get_dtype() != "I32" or len(held.get_shape()) != 1:
        raise ValueError("its ids are no list of 32-bit integers")
    ids: tuple[int, ...] = tuple(file.get_tensor("ids").tolist())
    if any(not 0 <= id < vocabulary for id in ids):
        raise ValueError("an id is outside the vocabulary")
    return ids


def _state(file: Any, ids: tuple[int, ...], computed: object, model: Fingerprint) -> KVState | None:
    """The cache after the first `computed` ids, shapes and types checked before a number of it is read."""
    length, config = _within(computed, len(ids)), model.config
    first = first_kept(length, config.sliding_window)
    shape, code = [config.n_layers, length - first, config.n_kv_heads, config.head_dim], _CODES[model.kv_dtype]
    forms = [(shape, code)] * 2 + ([(shape[:-1], "F32")] * 2 if code == "I8" else [])
    wanted = dict(zip(CACHE_NAMES, forms, strict=False)) if length else {}
    if set(file.keys()) != {"ids", *wanted}:
        raise ValueError(f"it should hold {', '.join(['ids', *wanted])}")
    if not length:
        return None
    for name, form in wanted.items():
        held = file.get_slice(name)
        if (held.get_shape(), held.get_dtype()) != form:
            raise ValueError(f"{name} is not {form[0]} of {form[1]}")
    cache = [file.get_tensor(name) for name in wanted]
    if not all(bool(layer.isfinite().all()) for kind in cache for layer in kind):
        raise ValueError("the cache holds numbers that are not finite")
    return KVState(ids[:length], first, *cache)


def _within(value: object, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError("a length in it is out of range")
    return value
