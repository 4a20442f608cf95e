"""Seeds of answers: one for each, and the same each time."""

from __future__ import annotations

from mistral7b.evals.chats import seed_of


def test_seeds() -> None:
    seeds = {seed_of(0, repeat, question, turn) for repeat in range(4) for question in range(30) for turn in range(2)}
    assert len(seeds) == 240
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seed_of("a", 1) == seed_of("a", 1) != seed_of("a", 2)
