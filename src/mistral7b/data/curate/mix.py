"""How often each source is seen: the recipe's epochs, or weights by kind and language turned into epochs."""

from __future__ import annotations

from typing import Any

from mistral7b.data.curate.recipe import CurateRecipe
from mistral7b.errors import DataError


def epochs(recipe: CurateRecipe, written: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Epochs by source. `written` is what documents.gathered gives.

    With weights, the sources of a group (`kind/language` if the recipe names one so, else `kind`; a source is of the language
    that most of its bytes are in) share the group's part of the tokens in proportion to tokens x their own epochs. Weights
    60 and 40, groups of 2 and 1 million tokens at one epoch, 3 million in all: 0.9 and 1.2 epochs.

    Raises DataError for a source that no weight covers and for a weight that covers none.
    """
    own = {name: source.epochs for name, source in recipe.sources.items()}
    if recipe.mix is None:
        return own
    weights = recipe.mix.weights
    groups: dict[str, list[str]] = {}
    for name, source in recipe.sources.items():
        language = next(iter(written[name]["languages"]), "")
        group = next((key for key in (f"{source.kind}/{language}", source.kind) if key in weights), None)
        if group is None:
            raise DataError(
                f"mix.weights has neither {source.kind} nor {source.kind}/{language or 'LANGUAGE'}, as source {name} is"
            )
        groups.setdefault(group, []).append(name)
    if spare := sorted(weights.keys() - groups.keys()):
        raise DataError(f"mix.weights.{spare[0]} fits no source")
    seen = {name: own[name] * written[name]["train"]["tokens"] for name in own}
    total = recipe.mix.tokens or sum(seen.values())
    found = dict.fromkeys(own, 0.0)
    for group, names in groups.items():
        share = weights[group] / sum(weights.values()) * total
        held = sum(seen[name] for name in names)
        for name in names:
            found[name] = round(own[name] * share / held, 4) if held else 0.0
    return found
