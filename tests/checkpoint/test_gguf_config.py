from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gguf import GGMLQuantizationType

from mistral7b.checkpoint.gguf_config import read_config
from mistral7b.checkpoint.gguf_header import GgufHeader, TensorInfo
from mistral7b.checkpoint.pairing import check
from mistral7b.errors import CheckpointError, ConfigError
from mistral7b.variants import V01, V02, V03
from tests.checkpoint import made, made_gguf


def header(config: Any = V01, **changes: Any) -> GgufHeader:
    """A header as llama.cpp writes one for `config`; keys given with "__" for ".", None to leave one out."""
    keys = {"general.architecture": "llama"} | made_gguf.metadata(config)
    keys |= {key.replace("__", "."): value for key, value in changes.items()}
    shape = (config.vocab_size, config.dim)
    tensors = {n: TensorInfo(n, GGMLQuantizationType.F16, shape, 0, 0) for n in ("token_embd.weight", "output.weight")}
    return GgufHeader({key: value for key, value in keys.items() if value is not None}, tensors)


@pytest.mark.parametrize("config", [V01, V02, V03, made.SMALL], ids=["v0.1", "v0.2", "v0.3", "own"])
def test_reads_what_was_written(config: Any) -> None:
    window = config.sliding_window
    read = read_config(header(config, llama__attention__sliding_window=window, llama__vocab_size=config.vocab_size))
    assert read.config == config
    assert read.context_length == 512
    assert read.notes == ()


@pytest.mark.parametrize(("vocab", "window"), [(32000, 4096), (32002, 4096), (32768, None)])
def test_the_window_that_v01_files_do_not_state_is_inferred_and_said(vocab: int, window: int | None) -> None:
    """A fine-tune with two tokens more has v0.1's window; v0.3's vocabulary with v0.1's theta is a contradiction."""
    read = read_config(header(replace(V01, vocab_size=vocab)))
    assert read.config.sliding_window == window
    assert any("4,096 inferred" in note for note in read.notes) == (window is not None)
    if window is not None:
        assert check(read.config) == []


def test_v02_and_v03_stay_without_window() -> None:
    assert read_config(header(V02)).config == V02
    assert read_config(header(V03)).config == V03
    assert read_config(header(V03, llama__attention__sliding_window=0)).config == V03


def test_absent_theta_means_ten_thousand_and_is_said() -> None:
    read = read_config(header(made.SMALL, llama__rope__freq_base=None))
    assert read.config.rope_theta == 10_000
    assert any("rope_theta 10000" in note for note in read.notes)


def test_float32_is_read_as_the_decimal_it_stands_for() -> None:
    stored = 9.999999747378752e-06  # float32(1e-5), as a GGUF gives it back
    config = read_config(header(V03, llama__attention__layer_norm_rms_epsilon=stored)).config
    assert config.norm_eps == 1e-5
    assert config == V03


def test_lists_of_equal_numbers_and_absent_kv_heads() -> None:
    assert read_config(header(V03, llama__attention__head_count_kv=[8] * 32)).config == V03
    assert read_config(header(V03, llama__attention__head_count_kv=None)).config.n_kv_heads == 32
    assert read_config(header(made.SMALL, mistral7b__trained_context=64)).trained_context == 64


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"general__architecture": "qwen2"}, CheckpointError, "'qwen2'"),
        ({"general__architecture": None}, CheckpointError, "None"),
        ({"split__count": 3}, CheckpointError, "split"),
        ({"llama__rope__scaling__type": "yarn"}, ConfigError, "'yarn'"),
        ({"llama__rope__scaling__factor": 4.0}, ConfigError, "4.0"),
        ({"llama__expert_count": 8}, ConfigError, "expert_count"),
        ({"llama__attention__clamp_kqv": 1.0}, ConfigError, "clamp_kqv"),
        ({"llama__rope__dimension_count": 64}, ConfigError, "rope.dimension_count"),
        ({"llama__attention__value_length": 64}, ConfigError, "value_length"),
        ({"llama__attention__head_count_kv": [8, 4]}, ConfigError, "one integer"),
        ({"llama__attention__head_count": 0}, ConfigError, "head"),
        ({"llama__attention__head_count": 7}, ConfigError, "llama"),
        ({"llama__embedding_length": "wide"}, ConfigError, "'wide'"),
        ({"llama__block_count": None}, ConfigError, "lacks llama.block_count"),
        ({"llama__attention__layer_norm_rms_epsilon": None}, ConfigError, "layer_norm_rms_epsilon"),
        ({"llama__attention__layer_norm_rms_epsilon": float("nan")}, ConfigError, "norm_eps"),
        ({"llama__rope__freq_base": "1e6"}, ConfigError, "freq_base"),
        ({"llama__vocab_size": 32001}, ConfigError, "32001"),
    ],
)
def test_what_this_network_is_not_is_refused(changes: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error) as caught:
        read_config(header(V03, **changes))
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
