"""Battles: a question to two models whose sides are drawn, their answers, and the vote that ends it. No HTTP here."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mistral7b.errors import RequestError
from mistral7b.evals.chats import Ask, Chat, Message
from mistral7b.evals.lines import Lines

SIDES = ("left", "right")
VOTES = ("left", "right", "tie", "both bad")
_MOST_KEPT = 64  # battles nobody voted in; the oldest is forgotten
LONGEST_PROMPT = 16_000  # characters


class BattleError(RequestError):
    """Something that this battle is not ready for: answers that are missing, a second vote."""


@dataclass
class Turn:
    """A question, the seed of its answers, and these by side; `busy` sides are being answered."""

    prompt: str
    seed: int = field(default_factory=lambda: secrets.randbits(31))
    answers: dict[str, str] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)


@dataclass
class Battle:
    """`models` by side."""

    id: str
    models: dict[str, Chat]
    turns: list[Turn]
    vote: str | None = None


class Arena:
    """Two models to tell apart by their answers alone; `votes` keeps what was found. Used from several threads.

    `swap` says for each battle whether the second model stands on the left; by default a coin does. Raises RequestError for two
    models of one name.
    """

    def __init__(
        self,
        models: tuple[Chat, Chat],
        votes: Lines,
        *,
        temperature: float,
        max_tokens: int,
        swap: Callable[[], bool] = lambda: bool(secrets.randbits(1)),
    ) -> None:
        if models[0].name == models[1].name:
            raise RequestError(f"both models are called {models[0].name}; the scores could not tell them apart")
        self.models, self.votes = models, votes
        self.temperature, self.max_tokens = temperature, max_tokens
        self._swap = swap
        self._battles: dict[str, Battle] = {}
        self._lock = threading.Lock()

    def begin(self, prompt: str) -> Battle:
        """A new battle, its sides drawn. Raises BattleError for a question that is empty or too long."""
        turn = Turn(_checked(prompt))
        with self._lock:
            left, right = reversed(self.models) if self._swap() else self.models
            battle = Battle(secrets.token_hex(8), {"left": left, "right": right}, [turn])
            self._battles[battle.id] = battle
            while len(self._battles) > _MOST_KEPT:
                del self._battles[next(iter(self._battles))]
        return battle

    def go_on(self, id: str, prompt: str) -> None:
        """A further question in the same battle. Raises BattleError before both sides have answered the last."""
        turn = Turn(_checked(prompt))
        with self._lock:
            battle = self._open(id)
            if set(battle.turns[-1].answers) != set(SIDES):
                raise BattleError("both sides must have answered before the next question")
            battle.turns.append(turn)

    def answer(self, id: str, side: str) -> Generator[str]:
        """The answer of one side to the last question, piece by piece; it counts once it is whole. Raises BattleError for a side
        that has answered or is being answered, and what the model raises."""
        with self._lock:
            battle = self._open(id)
            turn = battle.turns[-1]
            self._check(battle, turn, side)
        return self._answered(battle, turn, side)

    def _check(self, battle: Battle, turn: Turn, side: str) -> None:
        self._open(battle.id)
        if side in turn.answers or side in turn.busy:
            raise BattleError("this side was asked already")

    def _answered(self, battle: Battle, turn: Turn, side: str) -> Generator[str]:
        with self._lock:  # not before it runs: one that is closed unstarted runs nothing, and would leave its side busy
            self._check(battle, turn, side)
            turn.busy.add(side)
        messages: list[Message] = []
        for before in battle.turns[: battle.turns.index(turn)]:
            messages += [{"role": "user", "content": before.prompt}, {"role": "assistant", "content": before.answers[side]}]
        messages.append({"role": "user", "content": turn.prompt})
        said: list[str] = []
        try:
            for piece in battle.models[side].stream(Ask(messages, self.temperature, self.max_tokens, turn.seed)):
                said.append(piece)
                yield piece
            with self._lock:
                turn.answers[side] = "".join(said).strip() or "(no answer)"
        finally:
            with self._lock:
                turn.busy.discard(side)

    def cast(self, id: str, vote: str) -> Battle:
        """Ends the battle; the vote is on the disk when this returns. Raises BattleError for one too early, or a second one."""
        if vote not in VOTES:
            raise BattleError(f"a vote is one of {', '.join(VOTES)}, not {vote!r}")
        with self._lock:
            battle = self._open(id)
            if set(battle.turns[0].answers) != set(SIDES) or battle.turns[-1].busy:
                raise BattleError("vote when both sides have answered")
            self.votes.add({
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "battle": battle.id,
                "vote": vote,
                **{side: chat.name for side, chat in battle.models.items()},
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
                "turns": [
                    {"prompt": turn.prompt, "seed": turn.seed, **{side: turn.answers.get(side) for side in SIDES}}
                    for turn in battle.turns
                ],
            })  # fmt: skip
            battle.vote = vote
        return battle

    def _open(self, id: str) -> Battle:
        battle = self._battles.get(id)
        if battle is None:
            raise BattleError("there is no such battle; ask a new question")
        if battle.vote is not None:
            raise BattleError("this battle has its vote; ask a new question")
        return battle


def _checked(prompt: str) -> str:
    if not prompt.strip():
        raise BattleError("the question is empty")
    if len(prompt) > LONGEST_PROMPT:
        raise BattleError(f"the question has {len(prompt):,} characters; {LONGEST_PROMPT:,} are the most")
    return prompt.strip()
