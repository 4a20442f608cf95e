"""Whether a run may go on with a recipe: what must be as it was, and what may change and is said."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mistral7b.config import ModelConfig
from mistral7b.data.shards import Shards
from mistral7b.errors import MismatchError
from mistral7b.recipe import as_json
from mistral7b.train.recipe import Pretrain

_READING = ("length", "stages", "seed")  # of data: with batch_tokens they decide what each step reads
_OWN = ("run", "parallel", "data", "batch_tokens")  # free, or looked at apart


def facts_of(recipe: Pretrain, config: ModelConfig, shards: Shards) -> dict[str, Any]:
    """What a checkpoint tells of its run."""
    return {"recipe": as_json(recipe), "config": config.to_params(), "shards_sha256": shards.sha256}


def changes(recipe: Pretrain, config: ModelConfig, shards: Shards, facts: dict[str, Any]) -> Iterator[str]:
    """One line for each part of the recipe that is not as it was when `facts` were written.

    Raises MismatchError for another network, other shards or another order of reading.
    """
    check_architecture(recipe.run, config, facts)
    if facts["shards_sha256"] != shards.sha256:
        raise MismatchError(f"{recipe.run} was begun with other shards; give those back, or name another run folder")
    now, then = as_json(recipe), facts["recipe"]
    reading = {name: (then["data"].get(name), now["data"][name]) for name in _READING}
    for name, (before, after) in {**reading, "batch_tokens": (then.get("batch_tokens"), now["batch_tokens"])}.items():
        if before != after:
            raise MismatchError(
                f"{recipe.run} was begun with {name} {before}, which decides what it reads; keep it, or name another run folder"
            )
    yield from differences(now, then, _OWN)


def check_architecture(run: Path, config: ModelConfig, facts: dict[str, Any]) -> None:
    """Raises MismatchError for a run that was begun with another network."""
    if facts["config"] != config.to_params():
        raise MismatchError(f"{run} holds a run of another architecture; name another run folder")


def differences(now: dict[str, Any], then: dict[str, Any], free: Collection[str]) -> Iterator[str]:
    """One line for each key of the recipe whose value is another, but for those that are `free`."""
    for name in sorted(now.keys() - set(free)):
        if now[name] != then.get(name):
            yield f"{name} is not as it was: {then.get(name)} before, {now[name]} now"
