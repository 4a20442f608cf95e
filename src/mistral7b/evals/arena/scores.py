"""Bradley-Terry scores of votes: P(i beats j) = s_i / (s_i + s_j), on Elo's scale, with bootstrap intervals.

A tie is half a win for each side, and so is "both bad". Every two models that met get one tie more than they had: a model
that never lost would else be infinitely strong. Scores are 400 log10(s), shifted so that their mean is 1,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mistral7b.errors import DataError
from mistral7b.evals.arena.battles import VOTES
from mistral7b.evals.lines import numbered_lines

RESAMPLES = 1000
METHOD = (
    "Bradley-Terry by maximum likelihood, 400 log10 of the strengths around 1,000; ties and both bad are half a win for each; "
    "one more tie for each pair that met; 95 % intervals by bootstrap over votes"
)
MEAN = 1000.0
_SCALE = 400.0
_PRIOR = 1.0  # ties added to each pair that met
_STEPS, _CLOSE = 20_000, 1e-10
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Vote:
    """Which of two models somebody liked better: `vote` is one of VOTES."""

    left: str
    right: str
    vote: str


@dataclass(frozen=True)
class Standing:
    """A model's score with its 95 % interval over resampled votes, and its battles; `won` is the share of wins, ties counted
    half."""

    model: str
    score: float
    low: float
    high: float
    battles: int
    wins: int
    losses: int
    ties: int
    both_bad: int

    @property
    def won(self) -> float:
        return (self.wins + (self.ties + self.both_bad) / 2) / self.battles

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "won": self.won}


def read_votes(path: Path) -> list[Vote]:
    """The votes of a file that `eval arena` wrote. Raises DataError naming the line that is none."""
    votes = []
    for number, record in numbered_lines(path):
        left, right, vote = record.get("left"), record.get("right"), record.get("vote")
        if not (isinstance(left, str) and isinstance(right, str) and left != right and vote in VOTES):
            wanted = f'"left" and "right", two models, and a "vote" of {", ".join(VOTES)}'
            raise DataError(f"{path}, line {number}: a vote needs {wanted}")
        votes.append(Vote(left, right, str(vote)))
    if not votes:
        raise DataError(f"{path} holds no vote; make some with mistral7b eval arena A B")
    return votes


def standings(votes: Sequence[Vote], *, resamples: int = RESAMPLES, seed: int = 0) -> list[Standing]:
    """The best first. Raises DataError if some models never met the others, not even through third ones."""
    names = sorted({name for vote in votes for name in (vote.left, vote.right)})
    number = {name: place for place, name in enumerate(names)}
    wins = np.zeros((len(votes), len(names), len(names)))
    for row, vote in zip(wins, votes, strict=True):
        left, right = number[vote.left], number[vote.right]
        row[left, right] = {"left": 1.0, "right": 0.0}.get(vote.vote, 0.5)
        row[right, left] = 1 - row[left, right]
    total = wins.sum(0)
    prior = _PRIOR / 2 * (total + total.T > 0)
    _check_joined(names, prior)
    # One draw of so many votes with replacement is a multinomial count of each distinct vote.
    kinds, counts = np.unique(wins.reshape(len(votes), -1), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(votes), counts / len(votes), size=resamples)
    samples = scores((drawn @ kinds).reshape(resamples, len(names), len(names)) + prior)
    low, high = np.percentile(samples, [2.5, 97.5], axis=0)
    found = [
        Standing(name, float(score), float(low[place]), float(high[place]), **_tally(name, votes))
        for place, (name, score) in enumerate(zip(names, scores(total + prior), strict=True))
    ]
    return sorted(found, key=lambda standing: -standing.score)


def scores(wins: Array) -> Array:
    """Maximum-likelihood scores `[..., n]` of `wins [..., n, n]`, how often i beat j, by Hunter's MM iteration (2004).

    Two models, 3 wins of 4: s = (3, 1) / 4, the difference is 400 log10(3) = 190.8.
    """
    games, won = wins + wins.swapaxes(-1, -2), wins.sum(-1)
    logs = np.zeros(won.shape)
    for _ in range(_STEPS):
        strengths = np.exp(logs)
        denominators = (games / (strengths[..., :, None] + strengths[..., None, :])).sum(-1)
        moved = np.log(won) - np.log(denominators)
        moved -= moved.mean(-1, keepdims=True)
        near = np.abs(moved - logs).max() < _CLOSE
        logs = moved
        if near:
            break
    found: Array = MEAN + _SCALE / np.log(10) * logs
    return found


def _tally(name: str, votes: Sequence[Vote]) -> dict[str, int]:
    mine = [(("left" if vote.left == name else "right"), vote.vote) for vote in votes if name in (vote.left, vote.right)]
    ties, bad = (sum(vote == kind for _, vote in mine) for kind in ("tie", "both bad"))
    wins = sum(side == vote for side, vote in mine)
    return {"battles": len(mine), "wins": wins, "losses": len(mine) - wins - ties - bad, "ties": ties, "both_bad": bad}


def _check_joined(names: Sequence[str], met: Array) -> None:
    reached, new = {0}, [0]
    while new:
        new = [int(j) for j in np.flatnonzero(met[new].sum(0)) if int(j) not in reached]
        reached |= set(new)
    if len(reached) < len(names):
        strangers = next(name for place, name in enumerate(names) if place not in reached)
        raise DataError(f"{strangers} never met {names[0]}, nor anyone who did; their scores cannot be compared")
