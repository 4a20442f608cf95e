from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mistral7b.checkpoint.configs import HF, PARAMS, read_configs
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
        (HF, {"rope_theta": {"a": 1}}, "wrong type"),
        (HF, {"layer_types": 3}, "wrong type"),
        (HF, {"hidden_size": None}, "lacks hidden_size"),
        (HF, {"max_position_embeddings": -1}, "max_position_embeddings must be"),
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
