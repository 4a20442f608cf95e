from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mistral7b.checkpoint.configs import HF, PARAMS, read_configs
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import ConfigError, MismatchError
from mistral7b.variants import V01, V02
from tests.checkpoint import made


def test_v01_as_published_has_no_theta_and_says_so(tmp_path: Path) -> None:
    params = V01.to_params()
    del params["rope_theta"]
    (tmp_path / "params.json").write_text(json.dumps(params))
    read = read_configs(tmp_path, first=PARAMS, force=False)
    assert read.config == V01
    assert "rope_theta absent in params.json, 10,000 because of the window; sliding_window 4,096" in read.notes
    assert read.max_positions is None


def test_where_theta_was_read(tmp_path: Path) -> None:
    made.write_params(tmp_path, V02)
    assert "rope_theta 1,000,000 from params.json, sliding_window none" in read_configs(tmp_path, first=PARAMS, force=False).notes
    (tmp_path / "params.json").unlink()
    made.write_config(tmp_path, V02, rope_theta=None)
    read = read_configs(tmp_path, first=PARAMS, force=False)
    assert "rope_theta 1,000,000 from config.json, rope_parameters; sliding_window none" in read.notes
    assert (read.config, read.max_positions) == (V02, 512)


def test_two_configs_that_agree_and_two_that_do_not(tmp_path: Path) -> None:
    made.write_params(tmp_path)
    made.write_config(tmp_path)
    assert "config.json says the same" in read_configs(tmp_path, first=PARAMS, force=False).notes
    made.write_config(tmp_path, sliding_window=32)
    with pytest.raises(MismatchError, match=r"params.json says sliding_window 16, config.json says 32; .*--force") as caught:
        read_configs(tmp_path, first=PARAMS, force=False)
    assert "\n" not in str(caught.value)
    forced = read_configs(tmp_path, first=HF, force=True)
    assert forced.config.sliding_window == 32
    assert "forced: config.json says sliding_window 32, params.json says 16" in forced.notes


def test_a_second_config_that_cannot_be_read(tmp_path: Path) -> None:
    made.write_params(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        read_configs(tmp_path, first=PARAMS, force=False)
    made.write_config(tmp_path, quantization_config={"bits": 4})
    with pytest.raises(ConfigError, match="quantization_config"):
        read_configs(tmp_path, first=PARAMS, force=False)
    assert "forced: config.json is not read" in " ".join(read_configs(tmp_path, first=PARAMS, force=True).notes)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (PARAMS, {"moe": {}}, "unknown key 'moe'"),
        (PARAMS, {"dim": "4096"}, "dim must be a positive integer"),
        (PARAMS, {"n_heads": [1]}, "n_heads must be"),
        (HF, {"attention_bias": True}, "attention_bias"),
        (HF, {"model_type": "llama"}, "model_type 'llama'"),
        (HF, {"rope_theta": {"a": 1}}, "rope_theta must be a positive number"),
        (HF, {"layer_types": 3}, "layer_types must list"),
        (HF, {"hidden_size": None}, "lacks hidden_size"),
        (HF, {"max_position_embeddings": -1}, "max_position_embeddings must be"),
        (HF, {"max_position_embeddings": 2**31}, "max_position_embeddings must be"),
        (HF, {"eos_token_id": "</s>"}, "config.json: eos_token_id must be a token id or a list"),
        (HF, {"eos_token_id": [2, 2.0]}, "eos_token_id must be"),
        (HF, {"eos_token_id": True}, "eos_token_id must be"),
        (HF, {"eos_token_id": -1}, "eos_token_id must be"),
        (HF, {"eos_token_id": {"id\n": 2}}, "eos_token_id must be"),
    ],
)
def test_bad_configs_are_one_line(tmp_path: Path, file: str, change: dict[str, Any], words: str) -> None:
    (made.write_params if file == PARAMS else made.write_config)(tmp_path, **change)
    with pytest.raises(ConfigError, match=words) as caught:
        read_configs(tmp_path, first=file, force=False)
    assert "\n" not in str(caught.value)


def test_no_config_and_an_unreadable_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither params.json nor config.json"):
        read_configs(tmp_path, first=PARAMS, force=False)
    (tmp_path / "params.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_configs(tmp_path, first=PARAMS, force=False)


def test_our_own_file_gives_the_trained_context(tmp_path: Path) -> None:
    made.write_params(tmp_path)
    (tmp_path / "mistral7b.json").write_text('{"trained_context": 2048, "note": "more may stand here"}')
    assert read_configs(tmp_path, first=PARAMS, force=False).trained_context == 2048
    (tmp_path / "mistral7b.json").write_text('{"trained_context": "2048"}')
    with pytest.raises(ConfigError, match="trained_context must be"):
        read_configs(tmp_path, first=PARAMS, force=False)


@pytest.mark.parametrize(
    ("in_config", "in_generation", "eos_ids"),
    [
        ({}, None, (2,)),
        ({"eos_token_id": None}, None, (2,)),
        ({"eos_token_id": []}, None, (2,)),
        ({"eos_token_id": 7}, None, (7,)),
        ({"eos_token_id": [7, 2, 7]}, {"eos_token_id": [2, 9]}, (7, 2, 9)),
        ({"eos_token_id": 2}, {"eos_token_id": 9, "temperature": 0.7}, (2, 9)),
        ({"eos_token_id": 2}, {"do_sample": True}, (2,)),
        (None, None, (2,)),
        (None, {"eos_token_id": [9]}, (2, 9)),
    ],
)
def test_the_tokens_that_end_a_reply(
    tmp_path: Path, in_config: dict[str, Any] | None, in_generation: dict[str, Any] | None, eos_ids: tuple[int, ...]
) -> None:
    made.write_params(tmp_path)
    if in_config is not None:
        hf = made.SMALL.to_hf(max_position_embeddings=512, dtype="bfloat16")
        del hf["eos_token_id"]
        (tmp_path / "config.json").write_text(json.dumps(hf | in_config))
    if in_generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(in_generation))
    assert read_configs(tmp_path, first=PARAMS, force=False).eos_ids == eos_ids


@pytest.mark.parametrize("text", ["[2]", "{", '{"eos_token_id": "x"}'])
def test_a_generation_config_that_is_none(tmp_path: Path, text: str) -> None:
    made.write_config(tmp_path)
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"generation_config\.json") as caught:
        read_configs(tmp_path, first=HF, force=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("beside", ["config.json", "generation_config.json"])
def test_an_end_outside_the_vocabulary(tmp_path: Path, beside: str) -> None:
    """The vocabulary that counts is that of the weights: 64 here."""
    made.hf(tmp_path, made.weights())
    file = tmp_path / beside
    settings = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(settings | {"eos_token_id": [2, 63]}))
    assert open_checkpoint(tmp_path).eos_ids == (2, 63)
    file.write_text(json.dumps(settings | {"eos_token_id": 64}))
    with pytest.raises(ConfigError, match="eos_token_id 64 is outside the vocabulary of 64 ids") as caught:
        open_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_name_of_a_model_is_a_text(tmp_path: Path) -> None:
    for value, name in (("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1"), ("", None), (["x"], None), (None, None)):
        made.write_config(tmp_path, _name_or_path=value)
        assert read_configs(tmp_path, first=HF, force=False).hub_name == name
