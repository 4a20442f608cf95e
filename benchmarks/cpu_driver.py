"""The rounds of cpu_inference.py: systems take turns at every figure, one at work while the others are stopped."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpu_protocol import Answer, Overtime, Worker, WorkerError
from cpu_work import MACHINE, MACHINE_FIGURES, Figure

Run = dict[str, Any]  # round, figure, system, and either value (with what the worker said) or skipped: why
Say = Callable[[str], None]
_WARM_UP = 64
_PATIENCE = 3  # a command may take this many times its cap before its worker is ended


@dataclass
class Record:
    """The runs so far, in a JSON file that is whole at any moment."""

    file: Path | None
    settings: dict[str, Any]
    systems: dict[str, Any] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def resume(cls, file: Path, settings: dict[str, Any]) -> Record:
        """What `file` holds. Raises ValueError if it was measured with other settings."""
        kept = json.loads(file.read_text())
        if kept["settings"] != settings:
            changed = [key for key in settings if kept["settings"].get(key) != settings[key]]
            raise ValueError(f"{file} was measured with another {', '.join(changed)}; give another --json")
        runs = [run for run in kept["runs"] if "value" in run]  # what was skipped is tried again
        return cls(file, settings, kept["systems"], runs)

    def add(self, run: Run) -> None:
        self.runs.append(run)
        self.save()

    def save(self, **more: Any) -> None:
        if self.file is None:
            return
        aside = self.file.with_name(f"{self.file.name}.part")
        content = {"settings": self.settings, "systems": self.systems, "runs": self.runs, **more}
        with aside.open("w") as out:
            out.write(json.dumps(content, indent=1) + "\n")
            out.flush()
            os.fsync(out.fileno())
        aside.rename(self.file)

    def of(self, system: str, figure: Figure) -> list[Run]:
        return [run for run in self.runs if run["system"] == system and run["figure"] == figure.name]


class Driver:
    """Starts workers when they are first needed, and asks them in turn.

    `start` makes a system's worker. `cap_s` bounds a system's seconds at one figure over all rounds: no round is begun that
    would pass it, and a prompt whose time can be told from a shorter one to pass it is not begun at all.
    """

    def __init__(self, record: Record, start: Callable[[str], Worker], cap_s: float, say: Say, *, restart: bool = False) -> None:
        self.record, self.start, self.cap_s, self.say, self.restart = record, start, cap_s, say, restart
        self.workers: dict[str, Worker] = {}

    def run(self, systems: Sequence[str], figures: Sequence[Figure], rounds: int) -> None:
        """All rounds; the order of systems turns with the rounds. Ends the workers, whatever happens."""
        try:
            for number in range(rounds):
                for figure in MACHINE_FIGURES:
                    self._turn(number, figure, MACHINE)
                turn = number % len(systems)
                for figure in figures:
                    for system in (*systems[turn:], *systems[:turn]):
                        self._turn(number, figure, system)
                self.say(f"round {number + 1} of {rounds}")
        finally:
            for worker in self.workers.values():
                worker.end()

    def _turn(self, number: int, figure: Figure, system: str) -> None:
        before = self.record.of(system, figure)
        if any(run["round"] == number or "skipped" in run for run in before):
            return
        run: Run = {"round": number, "figure": figure.name, "system": system}
        reason = self._too_long(system, figure, before)
        if reason is None:
            try:
                run |= self._ask(system, figure)
            except WorkerError as error:
                reason = str(error)
        if reason is not None:
            if before:  # some rounds are there already: fewer is no failure
                return
            run["skipped"] = reason
        self.record.add(run)
        self.say(f"{figure.name} {system}: " + (reason or f"{run['value']:.1f} {figure.unit}"))
        if self.restart and system in self.workers:
            self.workers.pop(system).end()

    def _ask(self, system: str, figure: Figure) -> Answer:
        worker = self._worker(system)
        try:
            answer = worker.ask(limit_s=_PATIENCE * self.cap_s, **figure.command)
        except Overtime:
            del self.workers[system]
            raise
        except WorkerError:
            if not worker.alive:
                self.workers.pop(system).end()
            raise
        value = answer["value"] if "value" in answer else answer["tokens"] / answer["seconds"]
        return {"at": round(time.time(), 1), **answer, "value": value}

    def _worker(self, system: str) -> Worker:
        """A worker that has said what it is and has computed a little, so that what is done once is done."""
        if system not in self.workers:
            worker = self.workers[system] = self.start(system)
            about = worker.ask("about", _PATIENCE * self.cap_s)
            self.record.systems.setdefault(system, about)
            if system != MACHINE:
                worker.ask("prefill", _PATIENCE * self.cap_s, tokens=_WARM_UP)
        return self.workers[system]

    def _too_long(self, system: str, figure: Figure, before: Sequence[Run]) -> str | None:
        """Why this figure is not begun, or None."""
        seconds = [run["seconds"] for run in before if "seconds" in run]
        if seconds and sum(seconds) + max(seconds) > self.cap_s:
            return f"the cap of {self.cap_s:.0f} s"
        coming = figure.size if figure.kind == "prefill" else figure.fill
        if before or not coming:
            return None
        prefills = [run for run in self.record.runs if run["system"] == system and run["figure"].startswith("prefill-")]
        known = max((run for run in prefills if "tokens" in run), key=lambda run: run["tokens"], default=None)
        if known is None:
            return None
        least = coming * known["seconds"] / known["tokens"]
        return f"not run: at least {least:.0f} s, over the cap of {self.cap_s:.0f} s" if least > self.cap_s else None
