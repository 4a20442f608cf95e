"""The language of a text, by py3langid, whose model comes inside its package."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from datatrove.data import Document

from mistral7b.data.curate.recipe import Language
from mistral7b.data.curate.step import Desk, Dropped, Kept, Step, Verdict
from mistral7b.errors import RecipeError


class LanguageStep(Step):
    """Labels every document, then drops those of no wanted language, and those whose language is too unsure."""

    def __init__(self, desk: Desk, settings: Language) -> None:
        super().__init__("language", desk, settings)
        self.settings = settings
        self._recogniser: Any = None

    def begin(self, rank: int) -> None:
        among = self.settings.among
        self._recogniser = recogniser(None if among is None else tuple(among))

    def judge(self, document: Document) -> Verdict:
        held, keep, sure = document.metadata, self.settings.keep, 1.0
        if not held["language"]:  # else it is stated, and believed
            held["language"], sure = self._recogniser.classify(middle(document.text, self.settings.characters))
        if keep is not None and held["language"] not in keep:
            return Dropped(f"language {held['language']}", f"probability {sure:.2f}")
        if keep is not None and sure < self.settings.threshold:
            return Dropped("language unsure", f"{held['language']} with probability {sure:.2f}")
        return Kept(note=held["language"])


@lru_cache(maxsize=2)  # it takes half a second to load
def recogniser(among: tuple[str, ...] | None) -> Any:
    """py3langid's own model, giving probabilities. Raises RecipeError for a language it does not know."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    try:
        made.set_languages(among)
    except ValueError as error:
        raise RecipeError(f"steps.language.among: {error}") from None
    return made


def middle(text: str, characters: int) -> str:
    """The middle of a long text: its beginning may be a title page in another language."""
    start = max(0, (len(text) - characters) // 2)
    return text[start : start + characters]
