"""The learning rate over a run, as a share of its peak."""

from __future__ import annotations

import math

from mistral7b.train.recipe import Schedule


def share(schedule: Schedule, step: int, steps: int) -> float:
    """The share for `step` (from 0) of `steps`: 1 at the peak.

    With warmup 4, cosine to 0.1 over 12 steps: 0.25, 0.5, 0.75, 1.0, 0.97, ... 0.13.
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, steps - schedule.warmup)
    if schedule.name == "cosine":
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    left = (steps - step) / (schedule.decay * steps)
    return schedule.final + (1 - schedule.final) * min(1.0, max(0.0, left))
