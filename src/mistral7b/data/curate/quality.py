"""Quality of prose, by datatrove's filters under the recipe's thresholds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from datatrove.data import Document

from mistral7b.data.curate.recipe import Quality
from mistral7b.data.curate.step import Desk, Dropped, Step, Verdict
from mistral7b.data.curate.words import WORDS


class QualityStep(Step):
    """One set of rules. C4's filter, which takes out lines, comes first: the others see what is left. Then from the cheapest."""

    def __init__(self, desk: Desk, name: str, settings: Quality) -> None:
        super().__init__(f"quality-{name}", desk, settings)
        self.settings = settings
        self._filters: list[tuple[str, Any]] = []

    def begin(self, rank: int) -> None:
        from datatrove.pipeline.filters import (
            C4QualityFilter,
            FineWebQualityFilter,
            GopherQualityFilter,
            GopherRepetitionFilter,
        )

        kinds = {"c4": C4QualityFilter, "gopher": GopherQualityFilter, "fineweb": FineWebQualityFilter,
                 "repetition": GopherRepetitionFilter}  # fmt: skip
        given = {name: getattr(self.settings, name) for name in kinds}
        self._filters = [(name, kinds[name](**asdict(held), language=WORDS)) for name, held in given.items() if held is not None]

    def judge(self, document: Document) -> Verdict:
        for name, rule in self._filters:
            if not any(letter.isalnum() for letter in document.text):
                return Dropped("no words")
            result = rule.filter(document)
            if result is not True:
                reason = result[1] if isinstance(result, tuple) else "filtered"
                return Dropped(f"{name}: {reason.removeprefix('gopher_').replace('_', ' ')}")
        return None
