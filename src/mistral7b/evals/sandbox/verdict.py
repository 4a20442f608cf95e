"""What is allowed to a program, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    PASSED = "passed"  # ran to its end
    FAILED = "failed"  # an exception, or ended before its end
    TIMED_OUT = "timed out"
    OUT_OF_MEMORY = "out of memory"
    REFUSED = "refused"  # ended by what the sandbox does not allow


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one program: whole seconds of `cpu`, which end a loop, and `seconds` by the clock, which end what waits and leave room
    for a busy machine; bytes of address space, of one file and of all its files (`disk`), files and folders it makes,
    open files, threads (it is one process), bytes of its output that are kept."""

    cpu: int = 15
    seconds: float = 60.0
    memory: int = 1 << 30
    file: int = 16 << 20
    disk: int = 64 << 20
    files: int = 1000
    open_files: int = 64
    threads: int = 32
    output: int = 8 << 10

    def __post_init__(self) -> None:
        if min(asdict(self).values()) <= 0:
            raise ValueError("limits of a program are above 0")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, one line that says why unless it passed, seconds by the clock, and the beginning of what it printed."""

    outcome: Outcome
    line: str
    seconds: float
    output: str

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
