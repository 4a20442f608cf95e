"""Oracles as data: a JSON file of what a model must answer, published with the package or made by whoever doubts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

from mistral7b.config import parse_object
from mistral7b.errors import ConfigError

Kind = Literal["mean_logits", "logits", "greedy_ids", "greedy_text", "perplexity"]

PUBLISHED = {"v0.1": "v01.json"}
# Keys of each kind beside name, kind, expected and source; True: required.
_KEYS: dict[str, dict[str, bool]] = {
    "mean_logits": {"ids": True, "atol": True, "rtol": False},
    "logits": {"ids": True, "atol": True, "rtol": False, "row": False},
    "greedy_ids": {"ids": True, "repeat": False, "times": False, "after": False},
    "greedy_text": {"prompt": True, "max_tokens": True},
    "perplexity": {"context": True, "atol": True, "rtol": False},
}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """found and expected agree where |found - expected| <= absolute + relative * |expected|."""

    absolute: float
    relative: float

    def holds(self, found: float, expected: float) -> bool:
        """False for a NaN, too."""
        return abs(found - expected) <= self.absolute + self.relative * abs(expected)


@dataclass(frozen=True, kw_only=True, slots=True)
class Oracle:
    """One published answer.

    mean_logits: over the vocabulary, at each position of `ids`. logits: the first ones of position `row`. greedy_ids: what
    follows `ids`, `after` new ids that are not stated. greedy_text: how the text after `prompt` begins, within `max_tokens`.
    perplexity: of a given text in chunks of `context` tokens (see `perplexity`). `source` says where it comes from.
    """

    name: str
    kind: Kind
    expected: Any
    source: str = ""
    ids: tuple[int, ...] = ()
    row: int = 0
    after: int = 0
    prompt: str = ""
    max_tokens: int = 0
    context: int = 0
    tolerance: Tolerance | None = None


def published_oracles(variant: str) -> list[Oracle]:
    """The oracles that travel with the package for a published variant (FACTS 3.8); none for most."""
    if variant not in PUBLISHED:
        return []
    resource = files("mistral7b.oracles").joinpath(PUBLISHED[variant])
    return _parse(resource.read_text(encoding="utf-8"), PUBLISHED[variant])


def read_oracles(path: Path) -> list[Oracle]:
    """The oracles of a file like v01.json. Raises ConfigError for one that is missing or malformed."""
    try:
        return _parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _parse(text: str, file: str) -> list[Oracle]:
    entries = parse_object(text, file).get("oracles")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{file} has no list of oracles")
    return [_oracle(entry, f"{file}, oracle {i}") for i, entry in enumerate(entries, start=1)]


def _oracle(raw: Any, where: str) -> Oracle:
    if not isinstance(raw, dict) or raw.get("kind") not in get_args(Kind):
        raise ConfigError(f"{where} must be an object whose kind is one of {', '.join(get_args(Kind))}")
    kind: Kind = raw["kind"]
    keys = _KEYS[kind]
    required = {"expected", *(key for key, needed in keys.items() if needed)}
    if missing := sorted(required - raw.keys()):
        raise ConfigError(f"{where} ({kind}) lacks {missing[0]!r}")
    if unknown := sorted(raw.keys() - {"name", "kind", "expected", "source", *keys}):
        raise ConfigError(f"{where} ({kind}) has an unknown key {unknown[0]!r}")
    _check_types(raw, kind, where)
    tolerance = Tolerance(float(raw["atol"]), float(raw.get("rtol", 0.0))) if "atol" in raw else None
    plain = {key: raw[key] for key in ("row", "after", "prompt", "max_tokens", "context", "source") if key in raw}
    ids = (*raw.get("ids", ()), *(tuple(raw.get("repeat", ())) * raw.get("times", 1)))
    if plain.get("row", 0) >= len(ids) > 0:
        raise ConfigError(f"{where} ({kind}) asks for row {plain['row']} of {len(ids)} ids")
    return Oracle(name=raw.get("name", kind), kind=kind, expected=raw["expected"], ids=ids, tolerance=tolerance, **plain)


def _check_types(raw: Mapping[str, Any], kind: str, where: str) -> None:
    many_ids = kind == "greedy_ids"
    for key, value in raw.items():
        match key:
            case "ids" | "repeat":
                good = _is_list(value, int)
            case "row" | "after" | "times" | "max_tokens" | "context":
                good = isinstance(value, int) and not isinstance(value, bool) and value >= (key in ("max_tokens", "context"))
            case "atol" | "rtol":
                good = _is_number(value) and value >= 0
            case "expected" if kind in ("mean_logits", "logits", "greedy_ids"):
                good = _is_list(value, int if many_ids else float)
            case "expected" if kind == "perplexity":
                good = _is_number(value)
            case _:
                good = isinstance(value, str)
        if not good:
            raise ConfigError(f"{where} ({kind}): {key} cannot be {value!r:.40}")


def _is_list(value: Any, of: type) -> bool:
    fits = _is_number if of is float else lambda one: isinstance(one, int) and not isinstance(one, bool) and one >= 0
    return isinstance(value, list) and bool(value) and all(fits(one) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
