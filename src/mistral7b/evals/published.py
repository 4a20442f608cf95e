"""Figures that others published, for the columns beside ours. Nothing here was measured by this program."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "arXiv 2310.06825"


@dataclass(frozen=True, slots=True)
class Published:
    """One figure as printed: `value` in percent (MT-Bench: from 1 to 10), `spread` after its ±, `source` where it stands."""

    model: str
    value: float
    source: str
    spread: float | None = None


_COLUMNS = ("Mistral 7B", "Llama 2 7B", "Llama 2 13B", "Code Llama 7B")
_TABLE2 = {
    "mmlu": (60.1, 44.4, 55.6, 36.9),
    "hellaswag": (81.3, 77.1, 80.7, 62.9),
    "winogrande": (75.3, 69.5, 72.9, 62.3),
    "piqa": (83.0, 77.9, 80.8, 72.8),
    "arc_easy": (80.0, 68.7, 75.2, 59.4),
    "arc_challenge": (55.5, 43.2, 48.8, 34.5),
    "nq_open": (28.8, 24.7, 29.0, 11.0),
    "triviaqa": (69.9, 63.8, 69.6, 34.9),
    "humaneval": (30.5, 11.6, 18.9, 31.1),
    "mbpp": (47.5, 26.1, 35.4, 52.5),
    "math_maj4": (13.1, 3.9, 6.0, 5.2),
    "gsm8k_maj8": (52.2, 16.0, 34.3, 20.8),
}
TABLE2: dict[str, tuple[Published, ...]] = {
    name: tuple(Published(model, value, f"{PAPER}, table 2") for model, value in zip(_COLUMNS, values, strict=True))
    for name, values in _TABLE2.items()
}
"""By benchmark: what the paper prints in its table 2, by column."""

# Keys of the card that come with "5shot" are asked with five examples, nq and tqa themselves with none. Its gsm8k and math
# do not say how they were asked: far below the voted figures of the paper, one greedy answer is the likely reading.
CARD = {
    name: Published("Mistral 7B", value, "the early model card (hub, mistral7b-base, revision f592c5f)")
    for name, value in {
        "hellaswag": 81.19, "winogrande": 75.53, "piqa": 82.92, "boolq": 83.52, "arc_easy": 80.01, "arc_challenge": 55.38,
        "nq_open": 28.92, "triviaqa": 69.88, "humaneval": 29.88, "mbpp": 47.86, "mmlu": 59.99, "math": 11.94, "gsm8k": 39.35,
    }.items()
}  # fmt: skip
"""By benchmark: the figures of the card that came with the first upload."""

TABLE4 = {
    prompt: Published("Mistral 7B Instruct", score, f"{PAPER}, table 4", spread)
    for prompt, score, spread in (("none", 6.84, 0.07), ("llama2", 6.38, 0.07), ("mistral", 6.58, 0.05))
}
"""MT-Bench by system prompt, mean and spread over ten repeats."""
