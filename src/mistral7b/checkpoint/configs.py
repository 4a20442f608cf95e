"""The JSON files of a model folder: params.json, config.json and our own mistral7b.json, read and held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.pairing import differences, settle, show
from mistral7b.config import ModelConfig, from_hf, from_params, parse_object, said
from mistral7b.errors import ConfigError

PARAMS, HF, OWN, GENERATION = "params.json", "config.json", "mistral7b.json", "generation_config.json"
DEFAULT_EOS = (2,)  # </s> of every published tokenizer
_MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class ReadConfigs:
    """What the JSON files say. Contexts in tokens; `hub_name` is the name config.json says the model was saved under,
    `eos_ids` the tokens that end a reply: those of config.json (2 where it names none), then those of generation_config.json;
    `extended_from` the vocabulary before it was extended.
    """

    config: ModelConfig
    max_positions: int | None
    trained_context: int | None
    hub_name: str | None
    extended_from: int | None = None
    eos_ids: tuple[int, ...] = DEFAULT_EOS
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
    own, generation = own_facts(folder), _object(folder / GENERATION)
    eos = (read_eos(hf.get("eos_token_id"), HF) or DEFAULT_EOS) + read_eos(generation.get("eos_token_id"), GENERATION)
    name = hf.get("_name_or_path")
    return ReadConfigs(
        config=config,
        max_positions=_tokens(hf, "max_position_embeddings", HF) or _tokens(own, "max_positions", OWN),
        trained_context=_tokens(own, "trained_context", OWN),
        hub_name=name if isinstance(name, str) and name else None,
        extended_from=_tokens(own, "extended_from", OWN),
        eos_ids=tuple(dict.fromkeys(eos)),
        notes=notes,
    )


def read_eos(value: Any, file: str) -> tuple[int, ...]:
    """The ids of an `eos_token_id`: an integer, a list of them, or null for none; raises ConfigError naming `file`."""
    ids = value if isinstance(value, list) else [] if value is None else [value]
    for token in ids:
        if isinstance(token, bool) or not isinstance(token, int) or token < 0:
            raise ConfigError(f"{file}: eos_token_id must be a token id or a list of them, not {said(value)}")
    return tuple(ids)


def own_facts(folder: Path) -> dict[str, Any]:
    """What a folder's mistral7b.json says, nothing where there is none; raises ConfigError."""
    return _object(folder / OWN)


def training_facts(folder: Path) -> dict[str, Any] | None:
    """The "training" object of mistral7b.json: how the model was made; None also where the file cannot be read."""
    try:
        found = own_facts(folder).get("training")
    except ConfigError:
        return None
    return found if isinstance(found, dict) else None


def _object(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def read_object(path: Path) -> dict[str, Any]:
    """The one JSON object of a file; raises ConfigError naming the file."""
    try:
        return parse_object(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _parse(file: str, raw: Mapping[str, Any]) -> ModelConfig:
    return from_params(raw) if file == PARAMS else from_hf(raw)


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
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_TOKENS:
        raise ConfigError(f"{file}: {key} must be a positive number of tokens below 2**31, not {said(value)}")
    return value
