"""Battles: sides drawn, answers that belong to one model each, and one vote, on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import RequestError
from mistral7b.evals.arena.battles import LONGEST_PROMPT, SIDES, VOTES, Arena, BattleError
from mistral7b.evals.chats import Ask
from mistral7b.evals.lines import Lines, read_lines
from tests.evals.scripted import ScriptedChat


def arena(votes: Lines | None = None, swaps: list[bool] | None = None) -> Arena:
    def say(name: str) -> Any:
        return lambda ask: f"{name} on {ask.messages[-1]['content']}"

    drawn = iter(swaps or [False] * 99)
    models = ScriptedChat(say("one"), "one"), ScriptedChat(say("two"), "two")
    return Arena(models, votes or Lines(None), temperature=0.5, max_tokens=9, swap=lambda: next(drawn))


def answered(duel: Arena, id: str) -> dict[str, str]:
    return {side: "".join(duel.answer(id, side)) for side in SIDES}


@pytest.mark.parametrize("swapped", [False, True])
def test_a_battle(tmp_path: Path, swapped: bool) -> None:
    path = tmp_path / "votes.jsonl"
    with Lines(path) as votes:
        duel = arena(votes, [swapped])
        id = duel.begin(" Why? ").id
        names = {"left": "two", "right": "one"} if swapped else {"left": "one", "right": "two"}
        assert answered(duel, id) == {side: f"{name} on Why? " for side, name in names.items()}
        duel.go_on(id, "And then?")
        answered(duel, id)
        (vote,) = [duel.cast(id, "left"), read_lines(path)][1]
    assert {side: vote[side] for side in SIDES} == names
    assert (vote["vote"], vote["battle"], vote["temperature"], vote["max_tokens"]) == ("left", id, 0.5, 9)
    assert [turn["prompt"] for turn in vote["turns"]] == ["Why?", "And then?"]
    assert vote["turns"][1]["left"] == f"{names['left']} on And then?"


def test_a_side_sees_only_its_own_answers_and_both_draw_alike() -> None:
    duel = arena()
    id = duel.begin("Why?").id
    answered(duel, id)
    duel.go_on(id, "More?")
    answered(duel, id)
    for chat in duel.models:
        assert isinstance(chat, ScriptedChat)
        assert [message["content"] for message in chat.asked[1].messages] == ["Why?", f"{chat.name} on Why?", "More?"]
        assert (chat.asked[1].temperature, chat.asked[1].max_tokens) == (0.5, 9)
    first, second = duel.models
    assert isinstance(first, ScriptedChat)
    assert isinstance(second, ScriptedChat)
    assert [ask.seed for ask in first.asked] == [ask.seed for ask in second.asked]
    assert first.asked[0].seed != first.asked[1].seed


def test_what_comes_too_early_or_twice() -> None:
    duel = arena()
    id = duel.begin("Why?").id
    for refused, said in (
        (lambda: duel.cast(id, "left"), "vote when both sides have answered"),
        (lambda: duel.go_on(id, "More?"), "both sides must have answered"),
        (lambda: duel.cast("0000", "left"), "there is no such battle"),
    ):
        with pytest.raises(BattleError, match=said):
            refused()
    left = duel.answer(id, "left")
    next(left)
    with pytest.raises(BattleError, match="asked already"):
        duel.answer(id, "left")
    list(left)
    with pytest.raises(BattleError, match="asked already"):
        duel.answer(id, "left")
    list(duel.answer(id, "right"))
    with pytest.raises(BattleError, match="a vote is one of left, right, tie, both bad"):
        duel.cast(id, "one")
    duel.go_on(id, "More?")
    streaming = duel.answer(id, "right")
    next(streaming)
    with pytest.raises(BattleError, match="when both sides have answered"):
        duel.cast(id, "left")
    streaming.close()
    duel.cast(id, "both bad")
    assert duel.votes.records[0]["turns"][1] | {"seed": 0} == {"prompt": "More?", "seed": 0, "left": None, "right": None}
    for again in (lambda: duel.cast(id, "left"), lambda: duel.go_on(id, "x"), lambda: duel.answer(id, "left")):
        with pytest.raises(BattleError, match="has its vote"):
            again()
    assert len(duel.votes.records) == 1


def test_a_side_that_failed_may_be_asked_again() -> None:
    troubles = [RuntimeError("gone")]

    def say(ask: Ask) -> str:
        if troubles:
            raise troubles.pop()
        return "here"

    duel = Arena((ScriptedChat(say, "one"), ScriptedChat(say, "two")), Lines(None), temperature=0, max_tokens=9)
    id = duel.begin("Why?").id
    side = "left" if duel.models[0].name == "one" else "right"
    with pytest.raises(RuntimeError, match="gone"):
        list(duel.answer(id, side))
    assert answered(duel, id) == {"left": "here ", "right": "here "}


def test_an_answer_that_nobody_reads_leaves_its_side_free() -> None:
    duel = arena()
    id = duel.begin("Why?").id
    duel.answer(id, "left").close()
    late = duel.answer(id, "left")
    assert answered(duel, id) == {"left": "one on Why? ", "right": "two on Why? "}
    with pytest.raises(BattleError, match="asked already"):
        next(late)
    voted_on = duel.begin("Why?").id
    answered(duel, voted_on)
    duel.go_on(voted_on, "More?")
    late = duel.answer(voted_on, "right")
    duel.cast(voted_on, "tie")
    with pytest.raises(BattleError, match="has its vote"):
        next(late)


def test_questions_and_models_that_make_no_sense() -> None:
    duel = arena()
    with pytest.raises(BattleError, match="the question is empty"):
        duel.begin(" \n")
    with pytest.raises(BattleError, match="16,001 characters; 16,000 are the most"):
        duel.begin("a" * (LONGEST_PROMPT + 1))
    same = ScriptedChat(lambda ask: "", "one")
    with pytest.raises(RequestError, match="both models are called one"):
        Arena((same, same), Lines(None), temperature=0, max_tokens=9)


def test_a_coin_swaps_the_sides() -> None:
    models = ScriptedChat(lambda ask: "x", "one"), ScriptedChat(lambda ask: "x", "two")
    duel = Arena(models, Lines(None), temperature=0, max_tokens=9)
    lefts = [duel.begin("Why?").models["left"].name for _ in range(400)]
    assert 130 < lefts.count("one") < 270, "a coin is outside once in 10^11 runs"
    with pytest.raises(BattleError, match="no such battle"):
        duel.cast(next(iter(lefts)), "tie")
    assert len(duel._battles) == 64, "what nobody voted in is forgotten, the oldest first"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(VOTES)), min_size=1, max_size=20))
def test_every_vote_names_the_models_as_they_stood(rounds: list[tuple[bool, str]]) -> None:
    duel = arena(swaps=[swapped for swapped, _ in rounds])
    for _, vote in rounds:
        id = duel.begin("Why?").id
        answered(duel, id)
        duel.cast(id, vote)
    for (swapped, vote), record in zip(rounds, duel.votes.records, strict=True):
        assert (record["left"] == "two", record["vote"]) == (swapped, vote)
        assert record["turns"][0]["left"] == f"{record['left']} on Why?"
