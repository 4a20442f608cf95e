"""/v1/moderations: what may be asked, and a classification in the shape of the answer."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mistral7b.server.errors import BadField
from mistral7b.server.protocol.common import Listed, Strict, Text
from mistral7b.tokens.guardrail import CATEGORIES


class ModerationsRequest(Strict):
    """`input`: a text, or texts, each judged on its own."""

    input: Text | Annotated[Listed[Text], Field(min_length=1)]
    model: str | None = None

    def inputs(self, *, most: int) -> list[str]:
        """One or several. Raises BadField for more than `most`."""
        several = [self.input] if isinstance(self.input, str) else self.input
        if len(several) > most:
            raise BadField("input", f"{len(several):,} inputs are more than the {most} this server takes", code="invalid_value")
        return several


def moderation_result(answer: str, probability: float) -> dict[str, Any]:
    """One text's result, for an `answer` that is a category or NOT_MODERATED and its `probability`.

    The score of the category that was chosen is that probability; the others have 0, as nothing was asked about them.
    """
    return {
        "flagged": answer in CATEGORIES,
        "categories": {name: name == answer for name in CATEGORIES},
        "category_scores": {name: probability if name == answer else 0.0 for name in CATEGORIES},
        "category_applied_input_types": {name: ["text"] if name == answer else [] for name in CATEGORIES},
    }
