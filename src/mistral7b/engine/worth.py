"""When drafts pay: what a step costs, how often a request's drafts are right, and how many of them to run."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEP_FADE = 0.98  # a step measured n steps ago counts 0.98**n
_PRIOR = 0.02  # what is believed before anything is measured counts as much as this part of a step
_ROW_GUESS = 1 / 32  # of a step: believed of a row more, dear enough that the first drafts are few
_MOST_ROWS = 16  # a sequence of more rows is a prompt's chunk, which tells nothing of what a drafted row costs

_DRAFT_FADE = 0.85
_CHANCE = 0.6  # of a draft to be right, before anything is known
_INCOME = 0.01  # the part of a request's speed that may be spent on finding out whether drafts pay now
_START, _CREDIT = 0.5, 1.0  # ids that may be lost on drafts: at first, and at most


class StepCost:
    """Seconds of a step, learned as it runs: a + s x sequences + b x rows + t x tiles of `row_tile` rows.

    Decayed least squares of the relative error, so that a step held up by something else weighs little. `tiny` on one
    thread: about 10 ms, 5.7 ms a sequence, 0.2 ms a row; where a kernel pads rows to tiles, t is what counts.
    """

    def __init__(self, row_tile: int = 16) -> None:
        self.row_tile = row_tile
        self._weight = 0.0
        self._moments = np.zeros((4, 4))
        self._sums = np.zeros(4)

    @property
    def known(self) -> bool:
        """True once a step has been measured."""
        return self._weight > 0

    def learn(self, sequences: int, rows: int, seconds: float) -> None:
        """Count one step in."""
        if seconds <= 0 or rows > sequences * _MOST_ROWS:
            return
        relative = self._features(sequences, np.array([rows]))[0] / seconds
        self._moments = _STEP_FADE * self._moments + np.outer(relative, relative)
        self._sums = _STEP_FADE * self._sums + relative
        self._weight = _STEP_FADE * self._weight + 1

    def seconds(self, sequences: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """What steps of `rows` `[N]`, in rising order, would take, `[N]`: more rows never less."""
        assert self.known, "measure a step first"
        rate = np.sqrt(self._moments[0, 0] / self._weight)  # steps a second
        usual = self._moments[0, 1] / self._moments[0, 0]  # sequences a step
        # Where the measured steps leave a choice: half of a step is the sequences', and a row costs what was guessed.
        scale = np.array([0.0, 2 * usual * rate, rate / _ROW_GUESS, 4 * rate])
        target = np.array([0.0, 1.0, 1.0, 0.0])
        believed = self._moments + _PRIOR * np.diag(scale**2)
        found = np.linalg.solve(believed, self._sums + _PRIOR * scale * target)
        predicted = self._features(sequences, rows) @ found
        return np.maximum.accumulate(predicted.clip(min=1e-3 / rate))

    def _features(self, sequences: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        constant = np.ones(len(rows))
        return np.stack((constant, constant * sequences, rows, -(-rows // self.row_tile)), 1)


@dataclass
class Account:
    """One request's experience with one drafter.

    `balance` counts ids: what drafts brought, less what they cost while plain steps would have gone on (each `row_price`
    ids to run and `id_price` to draft), plus an allowance a step. Who is below zero drafts nothing until the allowance has
    paid for it; so whatever the estimates say, drafts cost a request at most `_START` ids, that allowance, and the one step
    that overdrew.
    """

    settled: int  # the step up to which the allowance has been paid
    right: float = 0.0
    tried: float = 0.0
    balance: float = _START
    row_price: float = 0.0
    id_price: float = 0.0

    @property
    def chance(self) -> float:
        """Estimated probability that a draft is right where those before it were."""
        return (self.right + _CHANCE) / (self.tried + 1)


class Worth:
    """Chooses how many drafted ids to run, so that they bring more than they cost.

    It knows no clock: what steps took is told to it. A `key` names a request with one drafter.
    """

    def __init__(self, row_tile: int = 16) -> None:
        self.cost = StepCost(row_tile)
        self._steps = 0
        self._accounts: dict[Hashable, Account] = {}

    def measured(self, sequences: int, rows: int, seconds: float) -> None:
        """A step ran `rows` rows of `sequences` sequences in `seconds`."""
        self._steps += 1
        self.cost.learn(sequences, rows, seconds)

    def share(self, offers: Sequence[tuple[Hashable, int]], sequences: int, rows: int, id_seconds: float = 0.0) -> list[int]:
        """How many ids of each offer (key, length) to run in a step that has `rows` rows of `sequences` without them.

        The drafts are taken in the order of their chance to be right, as many as give the most ids a second. One more id of
        all offers together takes `id_seconds` to draft. An offer that is not worth it gets one id when its allowance pays
        for that: what was hopeless may not be so any more.
        """
        accounts = [self._account(key) for key, _ in offers]
        lengths = [length if account.balance >= 0 else 0 for account, (_, length) in zip(accounts, offers, strict=True)]
        if not any(lengths) or not self.cost.known:
            return [0] * len(offers)
        seconds = self.cost.seconds(sequences, rows + np.arange(sum(lengths) + 1))
        counts = _best([account.chance for account in accounts], lengths, seconds, sequences, id_seconds)
        run, an_id = sum(counts), seconds[0] / sequences
        row_price = (seconds[run] - seconds[0]) / max(run, 1) / an_id
        id_price = max(counts) * id_seconds / max(run, 1) / an_id
        for place, (account, length) in enumerate(zip(accounts, lengths, strict=True)):
            prices = row_price, id_price
            if length and not counts[place]:
                prices = (seconds[run + 1] - seconds[run]) / an_id, id_seconds / an_id
                if account.balance >= sum(prices):
                    counts[place] = 1
                    run += 1
            account.row_price = prices[0]
            if id_seconds:
                account.id_price = prices[1]
        return counts

    def observe(self, key: Hashable, drafted: int, accepted: int) -> None:
        """Of `drafted` ids that were run, the first `accepted` were right."""
        account = self._account(key)
        account.right = _DRAFT_FADE * account.right + accepted
        account.tried = _DRAFT_FADE * account.tried + min(drafted, accepted + 1)
        account.balance = min(_CREDIT, account.balance + accepted - drafted * (account.row_price + account.id_price))

    def chance(self, key: Hashable) -> float:
        """Estimated probability that a draft is right where those before it were."""
        account = self._accounts.get(key)
        return _CHANCE if account is None else account.chance

    def forget(self, key: Hashable) -> None:
        """The request has ended."""
        self._accounts.pop(key, None)

    def _account(self, key: Hashable) -> Account:
        account = self._accounts.setdefault(key, Account(self._steps))
        account.balance = min(_CREDIT, account.balance + _INCOME * (self._steps - account.settled))
        account.settled = self._steps
        return account


def _best(
    chances: Sequence[float], lengths: Sequence[int], seconds: NDArray[np.float64], sequences: int, id_seconds: float
) -> list[int]:
    """How many ids of each offer give the most ids a second, where n rows more make a step of `seconds[n]`.

    For one number of rows the likeliest drafts are best, and the first ids of an offer are likelier than those behind
    them; so it is enough to walk down one sorted list, once for each depth where depth costs.
    """
    drafts = sorted(
        (-(chance ** (depth + 1)), depth, place)
        for place, (chance, length) in enumerate(zip(chances, lengths, strict=True))
        for depth in range(length)
    )
    best, taken = sequences / seconds[0], drafts[:0]
    for deepest in range(1, max(lengths) + 1) if id_seconds else (max(lengths),):
        within = [draft for draft in drafts if draft[1] < deepest]
        gained = sequences + np.cumsum([-gain for gain, _, _ in within])
        speeds = gained / (seconds[1 : len(within) + 1] + deepest * id_seconds)
        run = int(np.argmax(speeds))
        if speeds[run] > best:
            best, taken = speeds[run], within[: run + 1]
    places = [place for _, _, place in taken]
    return [places.count(place) for place in range(len(lengths))]
