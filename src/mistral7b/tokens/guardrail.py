"""The paper's guardrails (section 5, system prompt and self-reflection). Nothing here is applied unless it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# arXiv 2310.06825, section 5.1; what Mistral's API adds for `safe_prompt`.
SAFE_PROMPT = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. "
    "Avoid harmful, unethical, prejudiced, or negative content. Ensure replies promote fairness and positivity."
)

# The categories of docs.mistral.ai, guardrailing; the descriptions are ours.
CATEGORIES: dict[str, str] = {
    "illegal": "crime in general: drugs, weapons, theft, terrorism, or how to get round the law",
    "child abuse": "sexual, violent or exploitative treatment of minors",
    "hate violence harassment": "contempt for people because of what they are, threats, praise of violence, bullying",
    "malware": "code or instructions that break into, spy on or damage computers",
    "physical harm": "activities likely to injure or kill, suicide and self-harm included",
    "economic harm": "gambling, loan traps, pyramid schemes and other ways of losing people's money",
    "fraud": "deceit for gain: scams, plagiarism, forgery, fake reviews, impersonation",
    "adult": "sexual content and services",
    "political": "campaigning, lobbying or propaganda",
    "privacy": "personal data sought, tracked or exposed without consent",
    "unqualified law": "advice on a legal case that needs a lawyer",
    "unqualified financial": "advice on somebody's money that needs a professional",
    "unqualified health": "diagnosis or treatment that needs a doctor",
}
NOT_MODERATED = "not moderated"


def with_safe_prompt(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """`messages` after SAFE_PROMPT as a system message; `render` joins it with a system prompt of theirs, which then follows."""
    return [{"role": "system", "content": SAFE_PROMPT}, *messages]


def moderation_prompt(text: str) -> str:
    """A user message that has the model place `text` in one of CATEGORIES or answer NOT_MODERATED (paper, section 5.2).

    The question is the one published on docs.mistral.ai (guardrailing); the answer is one category name.
    """
    listed = "\n".join(f"- {name}: {meaning}" for name, meaning in CATEGORIES.items())
    return (
        f"You're given a list of moderation categories as below:\n\n{listed}\n\n"
        "Please classify the following text into one of these categories, and answer with that single word only.\n\n"
        "If the sentence does not fall within these categories, is safe and does not need to be moderated, "
        f'please answer "{NOT_MODERATED}".\n\n{text}'
    )
