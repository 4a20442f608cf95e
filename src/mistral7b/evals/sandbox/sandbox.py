"""Runs programs contained, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mistral7b.evals.sandbox.verdict import Limits, Verdict


class Sandbox:
    """Where generated programs run. `ways`: what contains them on this machine.

    Raises SandboxError where the kernel offers too little to contain a program, unless `force`.
    """

    def __init__(self, limits: Limits | None = None, *, workers: int = 2, force: bool = False) -> None:
        raise NotImplementedError

    def run(self, program: str, limits: Limits | None = None) -> Verdict:
        """Runs one program, as a script, to its end."""
        raise NotImplementedError

    def run_many(self, programs: Sequence[str], progress: Callable[[int, int], None] | None = None) -> tuple[Verdict, ...]:
        """Runs programs, `workers` at a time; verdicts in their order. `progress` is told (done, in all)."""
        raise NotImplementedError
