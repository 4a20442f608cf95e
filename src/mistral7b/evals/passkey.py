"""Passkey retrieval (arXiv 2305.16300): a number, or a name, hidden in idle talk and asked for at its end.

Whether far text is remembered is seen twice: in the greedy answer, and, for models too small to follow the request at all, in
how much more probable the number is than where another one was hidden.
"""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mistral7b.api import LLM, SamplingParams
from mistral7b.errors import RequestError, TokenizerError
from mistral7b.evals.scorer import Scorer
from mistral7b.evals.writing import write
from mistral7b.tokens.tokenizer import Tokenizer

ANSWER = 12  # tokens
_IDLE = "The road goes over the hill. A bird sits on the fence. The wind is soft, and the day is long. "


@dataclass(frozen=True, slots=True)
class Secret:
    """What is hidden: where the prompt begins, how one of `keys` is said in it, and how it is asked for."""

    begin: str
    hidden: str
    asked: str
    keys: Sequence[str]


SECRETS = {
    "number": Secret(
        "There is a secret number in this long story. Find it and keep it in mind.\n",
        "The secret number is {0}. Keep it in mind. {0} is the secret number. ",
        "\nWhat is the secret number? The secret number is",
        [str(number) for number in range(10_000, 100_000)],
    ),
    # For models that know no numbers: names are pieces of their own.
    "name": Secret(
        "This is a long story. Somebody in it has a secret. Keep the name in mind.\n",
        "The girl with the secret is called {0}. Remember that her name is {0}. ",
        "\nWhat is the name of the girl with the secret? The girl with the secret is called",
        [
            "Anna",
            "Lily",
            "Mia",
            "Sue",
            "Emma",
            "Lucy",
            "Jane",
            "Sara",
            "Amy",
            "Ella",
            "Rose",
            "Molly",
            "Kate",
            "Nina",
            "Zoe",
            "Mary",
        ],
    ),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """`trials` prompts of about `length` tokens, each with its number, said last `distance` tokens before the question, at
    `depth` (0 the beginning, 1 the end).

    `exact` is the share of greedy answers that begin with the number. `gain` is the mean of log p(number) after its prompt less
    the mean after the others, in nats: 0 where what was hidden is forgotten. `rank` is the mean place of a prompt's number among
    all of them, each judged by that difference: 1 is best, (trials + 1) / 2 is chance.
    """

    length: int
    depth: float
    distance: int
    trials: int
    exact: float
    gain: float
    rank: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Prompt:
    """`ids` of a prompt that asks for `key`, which ended `distance` tokens before the question."""

    ids: list[int]
    key: str
    distance: int


def make(tokenizer: Tokenizer, secret: Secret, length: int, depth: float, key: str) -> Prompt:
    """The longest prompt of at most `length` tokens with whole sentences of idle talk. Raises RequestError if there is none."""

    def composed(sentences: int) -> tuple[str, str]:
        before = round(depth * sentences)
        return secret.begin + _IDLE * before + secret.hidden.format(key), _IDLE * (sentences - before)

    def ids(sentences: int) -> list[int]:
        return tokenizer.encode("".join(composed(sentences)) + secret.asked, bos=True)

    if len(ids(0)) > length:
        raise RequestError(f"a passkey needs {len(ids(0)):,} tokens around it; {length:,} are too few")
    low, high = 0, length
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(ids(middle)) <= length else (low, middle - 1)
    whole, told = ids(low), tokenizer.encode(composed(low)[0], bos=True)
    asked = len(tokenizer.encode("".join(composed(low)), bos=True))
    return Prompt(whole, key, asked - len(told))


def passkey(
    llm: LLM,
    lengths: Sequence[int],
    depths: Sequence[float],
    trials: int,
    *,
    kind: str = "number",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Cell]:
    """A cell for each length and depth, in that order; `progress` is told (cells done, in all).

    `kind` is one of SECRETS. Raises RequestError for less than 2 trials or more than there are keys, and for a length that is
    too short, or leaves no room for the answer.
    """
    secret = SECRETS[kind]
    if not 2 <= trials <= len(secret.keys):
        raise RequestError(f"a {kind} is judged beside others; ask for 2 to {len(secret.keys):,} trials, not {trials}")
    if llm.tokenizer is None:
        raise TokenizerError("text needs a tokenizer, and this model folder has none; add its tokenizer.model")
    for length in lengths:
        if length + ANSWER > llm.max_model_len:
            raise RequestError(f"a prompt of {length:,} tokens and its answer are more than max_model_len {llm.max_model_len:,}")
    cells = []
    for length in lengths:
        for depth in depths:
            chance = random.Random(f"{seed} {length} {depth}")
            keys = chance.sample(secret.keys, trials)
            cells.append(_cell(llm, length, depth, [make(llm.tokenizer, secret, length, depth, key) for key in keys]))
            if progress is not None:
                progress(len(cells), len(lengths) * len(depths))
    return cells


def _cell(llm: LLM, length: int, depth: float, prompts: Sequence[Prompt]) -> Cell:
    assert llm.tokenizer is not None
    greedy = SamplingParams(temperature=0.0, max_tokens=ANSWER)
    answers = dict(write(llm, [(prompt.ids, greedy) for prompt in prompts]))
    right = [re.findall(r"\w+", answers[place])[:1] == [prompt.key] for place, prompt in enumerate(prompts)]
    keys = [llm.tokenizer.encode(prompt.key) for prompt in prompts]
    scores = Scorer(llm).score([(prompt.ids, key) for prompt in prompts for key in keys])
    n = len(prompts)
    gains = gains_of([[score.logprob for score in scores[row : row + n]] for row in range(0, n * n, n)])
    return Cell(
        length, depth, round(statistics.fmean(prompt.distance for prompt in prompts)), n, statistics.fmean(right),
        statistics.fmean(row[place] for place, row in enumerate(gains)),
        statistics.fmean(_rank(row, place) for place, row in enumerate(gains)),
    )  # fmt: skip


def gains_of(logprobs: Sequence[Sequence[float]]) -> list[list[float]]:
    """`logprobs[i][k]` of number k after prompt i, less the mean of the other prompts."""
    n = len(logprobs)
    sums = [sum(row[k] for row in logprobs) for k in range(n)]
    return [[value - (sums[k] - value) / (n - 1) for k, value in enumerate(row)] for row in logprobs]


def _rank(values: Sequence[float], place: int) -> float:
    """The place of one among all, 1 that of the largest; equal ones share the mean of theirs."""
    mine = values[place]
    return 1 + sum(other > mine for other in values) + (sum(other == mine for other in values) - 1) / 2


def draw(path: Path, cells: Sequence[Cell]) -> None:
    """The cells as a PNG: what having said the number gains, by length and depth, and the share of right answers."""
    from mistral7b.evals.picture import picture

    lengths, depths = sorted({cell.length for cell in cells}), sorted({cell.depth for cell in cells})
    found = {(cell.length, cell.depth): cell for cell in cells}
    with picture(path) as figure:
        axes = figure.subplots()
        gains = [[found[length, depth].gain for length in lengths] for depth in depths]
        most = max(1.0, *(gain for row in gains for gain in row))
        image = axes.imshow(gains, vmin=0, vmax=most, cmap="viridis", aspect="auto")
        for row, depth in enumerate(depths):
            for column, length in enumerate(lengths):
                text = f"{found[length, depth].exact:.0%}"
                axes.text(
                    column, row, text, ha="center", va="center", color="white" if gains[row][column] < 0.6 * most else "black"
                )
        axes.set(
            xlabel="tokens of the prompt",
            ylabel="depth of what is hidden",
            title="Greedy answers that are right, and what having been told gains",
        )
        axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
        axes.set_yticks(range(len(depths)), [f"{depth:.2f}" for depth in depths])
        figure.colorbar(image, label="nats gained")
