"""What an engine has done since it began, in numbers that only grow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EngineStats:
    """Counters. Tokens are positions of the cache: `looked_up_tokens` were sought in the prefix cache and `cached_tokens` found
    there; `drafted_tokens` were run on trial and `accepted_tokens` of them were right, `forced_tokens` of these by a grammar."""

    steps: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    looked_up_tokens: int = 0
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    forced_tokens: int = 0
    preemptions: int = 0
    finished: int = 0
