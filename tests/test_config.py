from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import MistralConfig

from mistral7b.config import ModelConfig, from_hf, from_params, parse_object, said
from mistral7b.errors import ConfigError
from mistral7b.variants import V01, V02, V03

HF = V01.to_hf(max_position_embeddings=32768, dtype="bfloat16")
NESTED = {key: value for key, value in HF.items() if key != "rope_theta"}
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}

# What transformers 4 wrote with `to_dict()`, as merging and quantising tools still copy it into config.json.
TRANSFORMERS_4: dict[str, Any] = {
    "return_dict": True, "output_hidden_states": False, "output_attentions": False, "torchscript": False,
    "torch_dtype": "bfloat16", "use_bfloat16": False, "tf_legacy_loss": False, "pruned_heads": {},
    "tie_word_embeddings": False, "chunk_size_feed_forward": 0, "is_encoder_decoder": False, "is_decoder": False,
    "cross_attention_hidden_size": None, "add_cross_attention": False, "tie_encoder_decoder": False, "max_length": 20,
    "min_length": 0, "do_sample": False, "early_stopping": False, "num_beams": 1, "num_beam_groups": 1,
    "diversity_penalty": 0.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0, "repetition_penalty": 1.0,
    "length_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "bad_words_ids": None,
    "num_return_sequences": 1, "output_scores": False, "return_dict_in_generate": False, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "remove_invalid_values": False, "exponential_decay_length_penalty": None,
    "suppress_tokens": None, "begin_suppress_tokens": None, "architectures": ["MistralForCausalLM"], "finetuning_task": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "tokenizer_class": None,
    "prefix": None, "bos_token_id": 1, "pad_token_id": None, "eos_token_id": 2, "sep_token_id": None,
    "decoder_start_token_id": None, "task_specific_params": None, "problem_type": None,
    "_name_or_path": "mistralai/Mistral-7B-v0.1", "_attn_implementation_autoset": True, "transformers_version": "4.46.0",
    "model_type": "mistral", "vocab_size": 32000, "max_position_embeddings": 32768, "hidden_size": 4096,
    "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "sliding_window": 4096, "head_dim": 128,
    "num_key_value_heads": 8, "hidden_act": "silu", "initializer_range": 0.02, "rms_norm_eps": 1e-05, "use_cache": True,
    "rope_theta": 10000.0, "attention_dropout": 0.0,
}  # fmt: skip
TOOLS = {
    "unsloth_version": "2024.9", "unsloth_fixed": True, "neftune_noise_alpha": 5, "_attn_implementation": "sdpa",
    "auto_map": {}, "quantization_config": None, "gradient_checkpointing": False,
}  # fmt: skip

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([0, 2**31, 10**400, -(10**4000), 1e308]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from([*ROPE, "type"]), inner, max_size=3),
    max_leaves=6,
)


def refused(read: Any, found: Mapping[str, Any]) -> str:
    """The one line with which `read` refuses `found`."""
    with pytest.raises(ConfigError) as caught:
        read(found)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("config", [V01, V02, V03])
def test_what_is_written_is_read(config: ModelConfig) -> None:
    assert from_params(json.loads(json.dumps(config.to_params()))) == config
    assert from_hf(json.loads(json.dumps(config.to_hf(max_position_embeddings=32768, dtype="bfloat16")))) == config


@pytest.mark.parametrize("config", [V01, V02])
def test_what_transformers_5_writes(config: ModelConfig) -> None:
    theirs = MistralConfig(
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        sliding_window=config.sliding_window,
    )
    assert from_hf(theirs.to_dict()) == config
    assert from_hf(json.loads(theirs.to_json_string(use_diff=False))) == config


def test_what_transformers_4_and_the_tools_around_it_wrote() -> None:
    assert from_hf(TRANSFORMERS_4) == V01
    assert from_hf(TRANSFORMERS_4 | TOOLS) == V01
    assert from_hf(TRANSFORMERS_4 | {"temperature": 0.7, "do_sample": True, "is_decoder": True, "pruned_heads": None}) == V01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"cross_attention_hidden_size": 64}, "cross_attention_hidden_size"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder"),
        ({"tie_encoder_decoder": True}, "tie_encoder_decoder"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor to 0.5"),
        ({"num_local_experts": 8}, "unknown key 'num_local_experts'"),
        ({"a\nb": 8}, r"unknown key 'a\nb'"),
        ({"quantization_config": {"quant_method": "awq"}}, "cannot be read; use the original model or a GGUF"),
        ({"rope_parameters": {"type": "linear"}}, "rope_type 'linear'"),
        ({"rope_parameters": {"rope_type": "default", "type": "yarn"}}, "rope_type 'yarn'"),
        ({"rope_parameters": {"rope_type": ["default"]}}, "rope_type ['default']"),
        ({"rope_parameters": ROPE | {"partial_rotary_factor": 0.5}}, "partial_rotary_factor to 0.5"),
        ({"rope_parameters": ROPE | {"factor\n": 2}}, r"'factor\n' in rope_parameters"),
        ({"rope_parameters": ROPE | {"rope_theta": 1e6}}, "two thetas, 10000 and 1e+06"),
        ({"rope_parameters": []}, "must be an object"),
        ({"rope_theta": "10000"}, "rope_theta must be a positive number"),
        ({"rope_theta": 10**400}, "rope_theta must be a positive number"),
        ({"rope_theta": True}, "rope_theta must be a positive number"),
        ({"rms_norm_eps": float("nan")}, "norm_eps must be a positive number"),
        ({"layer_types": []}, "one type for each of the 32 layers"),
        ({"layer_types": ["sliding_attention"] * 31}, "one type for each of the 32 layers"),
        ({"layer_types": {"0": "sliding_attention"}}, "one type for each of the 32 layers"),
        ({"layer_types": ["sliding_attention"] * 31 + ["full_attention"]}, "layer_types and sliding_window disagree"),
        ({"head_dim": None, "num_attention_heads": 0}, "num_attention_heads must be a positive integer"),
        ({"head_dim": None, "hidden_size": "4096"}, "hidden_size must be a positive integer"),
        ({"num_hidden_layers": 2**31}, "n_layers must be a positive integer below 2**31"),
        ({"vocab_size": 10**5000}, "not a value too large to print"),
        ({"sliding_window": [4096, 2048]}, "different windows"),
        ({"sliding_window": True}, "sliding_window must be a positive integer"),
    ],
)
def test_what_would_change_the_network_is_refused(change: dict[str, Any], words: str) -> None:
    assert words in refused(from_hf, HF | change)


def test_layer_types_and_rotary_factors_that_say_nothing_new() -> None:
    assert from_hf(HF | {"layer_types": ["sliding_attention"] * 32}) == V01
    assert from_hf(NESTED | {"rope_parameters": ROPE | {"partial_rotary_factor": 1.0}, "partial_rotary_factor": 1}) == V01
    assert from_hf(HF | {"rope_parameters": {"type": "default"}, "sliding_window": [4096] * 32, "head_dim": None}) == V01


@given(st.sampled_from(sorted(HF | TRANSFORMERS_4 | {"layer_types": 0, "quantization_config": 0, "?": 0})), json_values)
@example("rope_parameters", {"type": "linear"})
@example("model_type", 10**4000)
@example("head_dim", None)
def test_any_value_of_any_hf_key_is_a_config_or_one_line(key: str, value: Any) -> None:
    _config_or_one_line(from_hf, HF | {key: value})
    # With no head_dim and no plain theta the others are read along other ways.
    _config_or_one_line(from_hf, NESTED | {"head_dim": None, "rope_parameters": ROPE, key: value})
    _config_or_one_line(from_hf, NESTED | {"rope_parameters": ROPE | {key: value}})


@given(st.sampled_from(sorted([*ROPE, "type", "partial_rotary_factor"])), json_values)
def test_any_value_inside_rope_parameters_is_a_config_or_one_line(key: str, value: Any) -> None:
    _config_or_one_line(from_hf, NESTED | {"rope_parameters": ROPE | {key: value}})


@given(st.sampled_from(sorted(V01.to_params())) | st.text(), json_values)
def test_any_value_of_any_params_key_is_a_config_or_one_line(key: str, value: Any) -> None:
    _config_or_one_line(from_params, V01.to_params() | {key: value})


def _config_or_one_line(read: Any, found: Mapping[str, Any]) -> None:
    """Any exception but ConfigError comes through and fails the test."""
    try:
        config = read(found)
    except ConfigError as error:
        line = str(error)
    else:
        line = config.describe()
    assert len(line.splitlines()) == 1
    assert len(line) < 300


def test_numbers_have_bounds_and_types() -> None:
    config = replace(V01, rope_theta=1_000_000, norm_eps=1, vocab_size=2**31 - 1)
    assert (type(config.rope_theta), type(config.norm_eps)) == (float, float)
    assert config.vocab_size == 2**31 - 1
    changes: list[dict[str, Any]] = [{"dim": 2**31}, {"n_layers": 1.0}, {"sliding_window": 0}, {"norm_eps": 10**400}]
    for change in [*changes, {"norm_eps": float("inf")}, {"n_heads": True}, {"n_kv_heads": 5}, {"head_dim": 3}]:
        with pytest.raises(ConfigError, match=next(iter(change))):
            replace(V01, **change)


def test_params_state_their_theta_or_a_window() -> None:
    published = {key: value for key, value in V01.to_params().items() if key != "rope_theta"}
    assert from_params(published) == V01
    assert from_params(V02.to_params() | {"_sliding_window": None, "sliding_window": None}) == V02
    del published["sliding_window"]
    assert "neither rope_theta nor sliding_window" in refused(from_params, published)
    assert "lacks dim" in refused(from_params, {key: value for key, value in V01.to_params().items() if key != "dim"})


def test_one_json_object_is_asked_for() -> None:
    assert parse_object('{"a": 1}', "x.json") == {"a": 1}
    for text in ("[1]", "{", "[" * 100_000, f'{{"a": {"9" * 5000}}}'):
        with pytest.raises(ConfigError, match=r"^x.json") as caught:
            parse_object(text, "x.json")
        assert "\n" not in str(caught.value)


def test_values_in_messages_are_short() -> None:
    assert said("a\nb") == r"'a\nb'"
    assert said(10**400) == "1" + "0" * 56 + "..."
    assert said([10**5000]) == "a value too large to print"
