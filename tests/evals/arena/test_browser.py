"""The page in headless Chromium: a person asks, reads, votes by key and by mouse, and is told the names only then."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mistral7b.errors import EndpointError
from mistral7b.evals.arena.battles import Arena
from mistral7b.evals.arena.scores import read_votes, standings
from mistral7b.evals.chats import Ask
from mistral7b.evals.lines import Lines
from tests.evals.arena.browser import CHROMIUM, Page, browsing
from tests.evals.arena.served import serving
from tests.evals.scripted import ScriptedChat

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed on this machine"),
]
HOSTILE = "<img src=x onerror=document.title='broken'> <b>& **bold**"
SWAPS = [False, True, False, True, False, True]


def say(name: str, ask: Ask) -> str:
    prompt = ask.messages[-1]["content"]
    if prompt == "fail":
        raise EndpointError("down")
    return HOSTILE if prompt == "hostile" else f"{'Good' if name == 'alpha' else 'Poor'} words on {prompt}.\n" * 3


@pytest.fixture
def votes(tmp_path: Path) -> Path:
    return tmp_path / "votes.jsonl"


@pytest.fixture
def page(votes: Path, tmp_path: Path) -> Iterator[Page]:
    models = tuple(ScriptedChat(lambda ask, name=name: say(name, ask), name) for name in ("alpha", "beta"))
    drawn = iter(SWAPS)
    with Lines(votes) as lines:
        duel = Arena((models[0], models[1]), lines, temperature=0, max_tokens=9, swap=lambda: next(drawn))
        with serving(duel) as served, browsing(tmp_path / "profile") as opened:
            opened.open(served.url)
            yield opened


def ask(page: Page, prompt: str) -> None:
    page.wait("document.activeElement.id === 'prompt'")
    page.type(prompt)
    page.key("Enter")
    page.wait("state !== 'asking' && document.querySelectorAll('.talk .asked').length > 0")


def shown(page: Page, side: str) -> tuple[str, str]:
    """The heading and the last answer."""
    heading = page.value(f"document.querySelector('#{side} h2').textContent")
    return heading, page.value(f"[...document.querySelectorAll('#{side} .said')].at(-1).textContent.trim()")


def test_a_person_compares_two_models(page: Page, votes: Path, tmp_path: Path) -> None:
    assert page.value("[...document.querySelectorAll('[data-vote]')].every(button => button.disabled)")
    page.key("a", "a")  # in the question, where it is a letter and no vote
    assert page.value("document.getElementById('prompt').value") == "a"
    page.key("Enter")
    page.wait("state === 'open'")
    for side, words in (("left", "Good words on a."), ("right", "Poor words on a.")):
        heading, said = shown(page, side)
        assert heading == {"left": "A", "right": "B"}[side], "no name before the vote"
        assert said.startswith(words)
    assert not page.value("document.documentElement.outerHTML.match(/alpha|beta/)")
    page.key("a", "a")
    page.wait("state === 'voted'")
    assert [shown(page, side)[0] for side in ("left", "right")] == ["A: alpha", "B: beta"]
    assert page.value("document.getElementById('status').textContent") == "Your vote: A is better. 1 in all."
    page.screenshot(Path(os.environ.get("ARENA_SCREENSHOT") or tmp_path / "voted.png"))
    page.key("b", "b")
    page.key("n", "n")

    ask(page, "the moon")  # the sides are swapped this time
    assert shown(page, "left")[1].startswith("Poor words")
    page.value("document.getElementById('prompt').focus()")
    page.type("the sun")  # a further question, before the vote
    page.key("Enter")
    page.wait("document.querySelectorAll('.talk .asked').length === 4 && state === 'open'")
    page.click("[data-vote=right]")
    page.wait("state === 'voted'")
    assert shown(page, "right")[0] == "B: alpha"
    page.click("#again")

    for prompt, key in (("three", "t"), ("four", "x"), ("five", "b")):
        ask(page, prompt)
        page.key(key, key)
        page.wait("state === 'voted'")
        page.key("n", "n")

    held = [(vote.left, vote.right, vote.vote) for vote in read_votes(votes)]
    assert held == [
        ("alpha", "beta", "left"),
        ("beta", "alpha", "right"),
        ("alpha", "beta", "tie"),
        ("beta", "alpha", "both bad"),
        ("alpha", "beta", "right"),
    ]
    best = standings(read_votes(votes))[0]
    assert (best.model, best.wins, best.losses, best.ties, best.both_bad) == ("alpha", 2, 1, 1, 1)
    assert page.problems == []


def test_what_a_model_says_stays_text(page: Page) -> None:
    ask(page, "hostile")
    assert shown(page, "left")[1] == HOSTILE
    assert page.value("document.querySelectorAll('.talk img, .talk b').length") == 0
    assert page.value("document.title") == "Arena"
    assert page.problems == []


def test_a_side_that_fails_is_told_and_not_voted_on(page: Page, votes: Path) -> None:
    ask(page, "fail")
    assert page.value("document.querySelectorAll('.failed').length") == 2
    assert page.value("[...document.querySelectorAll('[data-vote]')].every(button => button.disabled)")
    page.key("a", "a")
    page.key("n", "n")
    ask(page, "again")
    assert page.value("state") == "open"
    assert votes.read_text() == ""
