from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.checkpoint.fit import Fit, advise, estimate
from mistral7b.model.pages import ring_slots
from mistral7b.variants import V01, V02, V03

GB = 10**9
STEP = {"n_sequences": 1, "page_tokens": 16, "chunk": 4096}


def test_the_rings_pages_by_hand() -> None:
    assert ring_slots(4096, 4096, 16, 32768) == 512
    assert ring_slots(4096, 4096, 16, 1000) == 63
    assert ring_slots(None, 4096, 16, 32768) == 2048
    assert ring_slots(4096, 1, 16, 32768) == 256


def test_the_cache_at_the_7b_shape() -> None:
    """Paper, section 2: one eighth of the full cache at 32k, plus at most one chunk and one page."""
    full = estimate(V02, dtype_bytes=2, max_model_len=32768, available=0, **STEP).cache_bytes
    assert full == 32768 * 2 * 32 * 8 * 128 * 2 == 4 * 2**30
    ring = estimate(V01, dtype_bytes=2, max_model_len=32768, available=0, **STEP).cache_bytes
    assert full / 8 <= ring <= full / 8 + (4096 + 16) * 131072
    assert estimate(V01, dtype_bytes=2, max_model_len=10**6, available=0, **STEP).cache_bytes == ring


def test_an_int8_cache_is_half_and_its_scales() -> None:
    full = estimate(V02, dtype_bytes=2, max_model_len=32768, available=0, **STEP)
    narrow = estimate(V02, dtype_bytes=2, cache_number_bytes=1, max_model_len=32768, available=0, **STEP)
    assert narrow.weights_bytes == full.weights_bytes
    assert narrow.cache_bytes == full.cache_bytes // 2 + 32768 * 2 * 32 * 8 * 4


def test_weights_are_the_published_counts() -> None:
    assert estimate(V01, dtype_bytes=2, max_model_len=16, available=0, **STEP).weights_bytes == 2 * 7_241_732_096
    assert estimate(V03, dtype_bytes=4, max_model_len=16, available=0, **STEP).weights_bytes == 4 * 7_248_023_552


@given(
    available=st.integers(0, 60 * GB),
    dtype_bytes=st.sampled_from([2, 4]),
    max_model_len=st.integers(1, 70_000),
    n_sequences=st.integers(1, 40),
    windowed=st.booleans(),
)
def test_every_offer_does_fit_and_the_next_larger_does_not(
    available: int, dtype_bytes: int, max_model_len: int, n_sequences: int, windowed: bool
) -> None:
    config = V01 if windowed else V02
    rest = {"n_sequences": n_sequences, "page_tokens": 16, "chunk": 2048, "available": available}
    line = advise(config, dtype_bytes=dtype_bytes, max_model_len=max_model_len, **rest)
    assert (line is None) == estimate(config, dtype_bytes=dtype_bytes, max_model_len=max_model_len, **rest).fits
    if line is None:
        return
    assert "\n" not in line
    for offer in line.split("would fit: ")[1].split(", or ") if "would fit" in line else []:
        length = re.search(r"max_model_len ([\d,]+)", offer)
        tokens = int(length[1].replace(",", "")) if length else max_model_len
        narrow = 2 if "bfloat16" in offer else dtype_bytes
        cached = 1 if "int8" in offer else None
        assert estimate(config, dtype_bytes=narrow, cache_number_bytes=cached, max_model_len=tokens, **rest).fits
        if length:
            larger = min(tokens + 1024, max_model_len)
            assert not estimate(config, dtype_bytes=narrow, cache_number_bytes=cached, max_model_len=larger, **rest).fits
            assert tokens < max_model_len


def test_what_the_line_says() -> None:
    assert advise(V01, dtype_bytes=2, max_model_len=8192, available=64 * GB, **STEP) is None
    line = advise(V01, dtype_bytes=4, max_model_len=8192, available=20 * GB, **STEP)
    assert line is not None
    assert re.fullmatch(
        r"needs 3\d\.\d GB \(weights 29\.0 GB, cache 2\.1 GB, work \d\.\d GB\), available 20\.0 GB; would fit: dtype bfloat16",
        line,
    ), line
    line = advise(V02, dtype_bytes=2, max_model_len=32768, available=19 * GB, **STEP)
    assert line is not None
    assert re.search(r"would fit: max_model_len \d\d,\d{3}, or kv_dtype int8( with max_model_len \d\d,\d{3})?$", line), line
    line = advise(V02, dtype_bytes=2, max_model_len=32768, available=8 * GB, **STEP)
    assert line is not None
    assert line.endswith("no context length fits; take a machine with more memory")


def test_a_system_that_does_not_say_is_not_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Fit(weights_bytes=1, cache_bytes=1, activation_bytes=1, available_bytes=None).fits
    monkeypatch.setattr("mistral7b.checkpoint.fit.available_bytes", lambda device: None)
    assert advise(V02, dtype_bytes=4, max_model_len=10**9, **STEP) is None
