"""Conversations to keep, without a model: caches of zeros, and models that spell in their own way."""

from __future__ import annotations

import torch

from mistral7b.conversations import Fingerprint, Kept
from mistral7b.model.snapshot import KVState, first_kept
from mistral7b.tokens.tokenizer import Tokenizer
from tests.equivalence.networks import small

TOOL = {"type": "function", "function": {"name": "weather", "description": "now", "parameters": {"type": "object"}}}
CONFIG = small(vocab_size=32_768)
MODEL = Fingerprint(config=CONFIG, weights="0" * 64, tokenizer="v3 " + "1" * 64, kv_dtype="bfloat16", name="tiny")


def state(ids: tuple[int, ...], window: int | None, kv_dtype: str = "bfloat16") -> KVState:
    """A cache of the shape of CONFIG's; every number of it is another."""
    first = first_kept(len(ids), window)
    shape = (CONFIG.n_layers, len(ids) - first, CONFIG.n_kv_heads, CONFIG.head_dim)
    k = torch.randn(shape, generator=torch.Generator().manual_seed(len(ids))).to(torch.bfloat16)
    if kv_dtype == "int8":
        return KVState(ids, first, (k * 40).to(torch.int8), (k * 20).to(torch.int8), k[..., 0].float(), k[..., 1].float())
    return KVState(ids, first, k, k + 1)


def in_bytes(tokenizer: Tokenizer, text: str) -> list[int]:
    """`text` a byte a token: a spelling that decodes to it and that the tokenizer would never choose."""
    zero = next(id for id in range(tokenizer.vocab_size) if tokenizer.is_byte(id))
    return [zero + byte for byte in text.encode()]


def kept(n_ids: int = 20, window: int | None = CONFIG.sliding_window, kv_dtype: str = "bfloat16") -> Kept:
    """A conversation of `n_ids` ids, of which all but the last two are computed."""
    ids = tuple(range(3, n_ids + 3))
    messages = [
        {"role": "system", "content": "Be brief.\n"},
        {"role": "user", "content": "hél\u2028lo"},
        {"role": "assistant", "content": "Hi \U0001f600"},
    ]
    return Kept(
        messages=messages, tools=[TOOL], safe_prompt=True, ids=ids, reply_at=n_ids // 2,
        state=state(ids[:-2], window, kv_dtype),
    )  # fmt: skip
