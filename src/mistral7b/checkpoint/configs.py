"""The JSON files of a model folder: params.json, config.json and our own mistral7b.json, read and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.pairing import differences, settle, show
from mistral7b.config import ModelConfig, from_hf, from_params, parse_object
from mistral7b.errors import ConfigError

PARAMS, HF, OWN = "params.json", "config.json", "mistral7b.json"


@dataclass(frozen=True, kw_only=True)
class ReadConfigs:
    """What the JSON files say. Contexts in tokens; `hub_name` is the name config.json says the model was saved under."""

    config: ModelConfig
    max_positions: int | None
    trained_context: int | None
    hub_name: str | None
    notes: list[str] = field(default_factory=list)


def read_configs(folder: Path, *, first: str, force: bool) -> ReadConfigs:
    """Reads the files that stand in `folder`; of two configs, `first` (PARAMS or HF) gives the numbers.

    Raises ConfigError for a file that is malformed or of another architecture, or if there is none; MismatchError if
    params.json and config.json disagree and `force` is not given.
    """
    raw = {file: read_object(folder / file) for file in (PARAMS, HF) if (folder / file).is_file()}
    if not raw:
        raise ConfigError(f"{folder} has weights but neither {PARAMS} nor {HF}; fetch the config of this model too")
    chosen = first if first in raw else next(iter(raw))
    config = _parse(chosen, raw[chosen])
    notes = [f"read {chosen}: {config.describe()}", _theta_note(chosen, raw[chosen], config)]
    for other in raw.keys() - {chosen}:
        notes += _compare(chosen, config, other, raw[other], force=force)
    hf = raw.get(HF, {})
    own = read_object(folder / OWN) if (folder / OWN).is_file() else {}
    return ReadConfigs(
        config=config,
        max_positions=_tokens(hf, "max_position_embeddings", HF) or _tokens(own, "max_positions", OWN),
        trained_context=_tokens(own, "trained_context", OWN),
        hub_name=str(hf["_name_or_path"]) if hf.get("_name_or_path") else None,
        notes=notes,
    )


def read_object(path: Path) -> dict[str, Any]:
    """The one JSON object of a file; raises ConfigError naming the file."""
    try:
        return parse_object(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _parse(file: str, raw: Mapping[str, Any]) -> ModelConfig:
    try:
        return from_params(raw) if file == PARAMS else from_hf(raw)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{file} holds a value of the wrong type: {error}") from None


def _compare(chosen: str, config: ModelConfig, other: str, raw: Mapping[str, Any], *, force: bool) -> list[str]:
    try:
        second = _parse(other, raw)
    except ConfigError as error:
        if not force:
            raise
        return [f"forced: {other} is not read: {error}"]
    found = [
        f"{chosen} says {name} {show(ours)}, {other} says {show(theirs)}" for name, ours, theirs in differences(config, second)
    ]
    return settle(found, force=force) or [f"{other} says the same"]


def _theta_note(file: str, raw: Mapping[str, Any], config: ModelConfig) -> str:
    window = f"sliding_window {show(config.sliding_window)}"
    if raw.get("rope_theta") is not None:
        return f"rope_theta {show(config.rope_theta)} from {file}, {window}"
    if isinstance(raw.get("rope_parameters"), dict) and raw["rope_parameters"].get("rope_theta") is not None:
        return f"rope_theta {show(config.rope_theta)} from {file}, rope_parameters; {window}"
    return f"rope_theta absent in {file}, {show(config.rope_theta)} because of the window; {window}"


def _tokens(raw: Mapping[str, Any], key: str, file: str) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{file}: {key} must be a positive number of tokens, not {value!r}")
    return value
