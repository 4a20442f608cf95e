"""What a model, its cache and one step need in memory, and what would fit where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from mistral7b.checkpoint.memory import available_bytes
from mistral7b.config import ModelConfig
from mistral7b.model.pages import cache_bytes, ring_slots

# Dtypes to offer where the asked one does not fit, widest first: (name, bytes per weight).
_NARROWER = (("bfloat16", 2),)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Bytes needed and bytes there. `available_bytes` is None where the system does not say; then everything fits."""

    weights_bytes: int
    cache_bytes: int
    activation_bytes: int
    available_bytes: int | None

    @property
    def needed_bytes(self) -> int:
        return self.weights_bytes + self.cache_bytes + self.activation_bytes

    @property
    def fits(self) -> bool:
        return self.available_bytes is None or self.needed_bytes <= self.available_bytes


def estimate(
    config: ModelConfig,
    *,
    dtype_bytes: float,
    cache_number_bytes: float | None = None,
    max_model_len: int,
    n_sequences: int,
    page_tokens: int,
    chunk: int,
    device: torch.device | str = "cpu",
    available: int | None = None,
    weights_bytes: int | None = None,
) -> Fit:
    """Memory for `n_sequences` requests of at most `max_model_len` tokens, prefilled in chunks of at most `chunk`.

    `dtype_bytes` is bytes per weight, and per cached number too unless `cache_number_bytes` says otherwise; `weights_bytes`, if
    given, is what all weights take. `available`
    overrides what `device` reports.
    """
    tokens = n_sequences * page_tokens * ring_slots(config.sliding_window, chunk, page_tokens, max_model_len)
    return Fit(
        weights_bytes=int(config.n_params * dtype_bytes) if weights_bytes is None else weights_bytes,
        cache_bytes=cache_bytes(config, tokens, dtype_bytes if cache_number_bytes is None else cache_number_bytes),
        activation_bytes=_activations(config, min(chunk, max_model_len), n_sequences),
        available_bytes=available_bytes(device) if available is None else available,
    )


def advise(
    config: ModelConfig,
    *,
    dtype_bytes: float,
    cache_number_bytes: float | None = None,
    max_model_len: int,
    n_sequences: int,
    page_tokens: int,
    chunk: int,
    device: torch.device | str = "cpu",
    available: int | None = None,
    weights_bytes: int | None = None,
) -> str | None:
    """None if it fits; else one line with what is needed, what is there, and what would fit. Arguments as `estimate`."""
    there = available_bytes(device) if available is None else available
    needs = partial(
        estimate, config, cache_number_bytes=cache_number_bytes, n_sequences=n_sequences, page_tokens=page_tokens, chunk=chunk,
        device=device, available=there, weights_bytes=weights_bytes,
    )  # fmt: skip
    fit = needs(dtype_bytes=dtype_bytes, max_model_len=max_model_len)
    if fit.fits or fit.available_bytes is None:
        return None
    offers = _offers(needs, dtype_bytes, cache_number_bytes or dtype_bytes, max_model_len)
    would = f"would fit: {', or '.join(offers)}" if offers else "no context length fits; take a machine with more memory"
    return (
        f"needs {_gb(fit.needed_bytes)} (weights {_gb(fit.weights_bytes)}, cache {_gb(fit.cache_bytes)}, "
        f"work {_gb(fit.activation_bytes)}), available {_gb(fit.available_bytes)}; {would}"
    )


def _offers(needs: Callable[..., Fit], dtype_bytes: float, cached_bytes: float, max_model_len: int) -> list[str]:
    """What would fit: a shorter context, a narrower dtype, a narrower cache, or one of these with a shorter context."""
    offers = []
    if shorter := _longest(needs, dtype_bytes, max_model_len):
        offers.append(f"max_model_len {shorter:,}")
    for name, narrow in _NARROWER:
        if narrow < dtype_bytes:
            offers += _with(needs, f"dtype {name}", narrow, max_model_len)
    if cached_bytes > 1:
        offers += _with(partial(needs, cache_number_bytes=1), "kv_dtype int8", dtype_bytes, max_model_len)
    return offers


def _with(needs: Callable[..., Fit], what: str, dtype_bytes: float, max_model_len: int) -> list[str]:
    """`what`, if it fits, or with it the longest context that does."""
    if needs(dtype_bytes=dtype_bytes, max_model_len=max_model_len).fits:
        return [what]
    shorter = _longest(needs, dtype_bytes, max_model_len)
    return [f"{what} with max_model_len {shorter:,}"] if shorter else []


def _longest(needs: Callable[..., Fit], dtype_bytes: float, limit: int) -> int | None:
    """The longest context under `limit` that fits, rounded down to 1,024 tokens; None if that is none."""
    low, high = 0, (limit - 1) // 1024
    while low < high:
        middle = (low + high + 1) // 2
        fits = needs(dtype_bytes=dtype_bytes, max_model_len=middle * 1024).fits
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * 1024 or None


def _activations(config: ModelConfig, tokens: int, n_sequences: int) -> int:
    """What one step allocates besides the cache, in float32 and with the row tiles the torch kernels cut and rejoin.

    Per row the residual stream, its norms and sums (6 dim), q k v and their rotated copies, and gate, up, their product and
    their tiles (5 hidden); then one row of logits a sequence. Measured: 215 MB for 2,048 rows at dim 1,024, hidden 3,584,
    8 heads over 2, where this says 218.
    """
    heads = (2 * config.n_heads + 2 * config.n_kv_heads) * config.head_dim
    return 4 * (tokens * (6 * config.dim + heads + 5 * config.hidden_dim) + n_sequences * config.vocab_size)


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
