"""A run: first turns, second turns, judgments; each is on the disk when it is made, so a run that was killed goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mistral7b.checkpoint.aside import written
from mistral7b.errors import DataError
from mistral7b.evals.chats import Ask, Chat, Message, seed_of
from mistral7b.evals.lines import Lines, Record
from mistral7b.evals.mt_bench.questions import TURNS, Bench, Question
from mistral7b.evals.mt_bench.rating import judge_ask, prompt_name, read_rating

SETTINGS, ANSWERS, JUDGMENTS = "settings.json", "answers.jsonl", "judgments.jsonl"
Progress = Callable[[int, int, str], None]
Key = tuple[str, int, int, int]  # system prompt's name, repeat, question, turn


@dataclass(frozen=True)
class Plan:
    """`systems`: system prompts by name, None for none. Each of `repeats` answers every question anew, with seeds of its own
    drawn from `seed`; an answer has at most `max_tokens`, by default as many as FastChat gives."""

    systems: Mapping[str, str | None] = field(default_factory=lambda: {"none": None})
    repeats: int = 1
    seed: int = 0
    max_tokens: int = 1024


@dataclass(frozen=True)
class Outcome:
    """All that was asked for, and what came of it: lines of answers and judgments by Key."""

    bench: Bench
    plan: Plan
    settings: Record
    answers: dict[Key, Record]
    judgments: dict[Key, Record]

    def keys(self, system: str) -> Iterator[tuple[Key, Question]]:
        """Every turn of every question of every repeat under one system prompt."""
        for repeat in range(self.plan.repeats):
            for question in self.bench.questions:
                for turn in range(TURNS):
                    yield (system, repeat, question.id, turn), question


def run(model: Chat, judge: Chat, bench: Bench, plan: Plan, out: Path | None = None, progress: Progress | None = None) -> Outcome:
    """Ask `model`, have `judge` grade. With `out`, a folder, what stands there already is not asked again; repeats, system
    prompts and questions may be added.

    `progress` is told (done, in all, what). Raises DataError if `out` holds a run of other settings, and what the chats raise.
    """
    settings = {
        "model": model.describe(), "judge": judge.describe(), "seed": plan.seed, "max_tokens": plan.max_tokens,
        "files": dict(bench.files),
    }  # fmt: skip
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        _agree(out / SETTINGS, {**settings, "systems": dict(plan.systems)})
    with Lines(out and out / ANSWERS) as answers, Lines(out and out / JUDGMENTS) as judgments:
        outcome = Outcome(bench, plan, settings, _by_key(answers), _by_key(judgments))
        for turn in range(TURNS):
            _answer(outcome, model, answers, turn, progress)
        _judge(outcome, judge, judgments, progress)
    return outcome


def _answer(outcome: Outcome, model: Chat, lines: Lines, turn: int, progress: Progress | None) -> None:
    wanted = [(key, question) for key, question in _all(outcome) if key[3] == turn and key not in outcome.answers]
    asked: list[tuple[Key, Question]] = []
    for key, question in wanted:
        if turn and not outcome.answers[*key[:3], turn - 1]["answer"]:  # no template has room for an empty reply
            _keep(lines, outcome.answers, key, {"answer": "", "trouble": "the answer before it was empty"})
        else:
            asked.append((key, question))
    asks = [_ask(outcome, key, question) for key, question in asked]
    for done, (number, reply) in enumerate(model.replies(asks), start=1):
        _keep(lines, outcome.answers, asked[number][0], {"answer": reply.text, "trouble": reply.trouble})
        _tell(progress, done, len(asks), f"turn {turn + 1}")


def _judge(outcome: Outcome, judge: Chat, lines: Lines, progress: Progress | None) -> None:
    wanted = [(key, question) for key, question in _all(outcome) if key not in outcome.judgments]
    asks = [judge_ask(outcome.bench, question, _answers(outcome, key), key[3]) for key, question in wanted]
    for done, (number, reply) in enumerate(judge.replies(asks), start=1):
        key, question = wanted[number]
        found = {"prompt": prompt_name(question, key[3]), "judgment": reply.text, "rating": read_rating(reply.text)}
        _keep(lines, outcome.judgments, key, {**found, "trouble": reply.trouble})
        _tell(progress, done, len(asks), "judging")


_KEYS = ("system", "repeat", "question_id", "turn")


def _by_key(lines: Lines) -> dict[Key, Record]:
    try:
        return {tuple(record[name] for name in _KEYS): record for record in lines.records}
    except (KeyError, TypeError):
        raise DataError(f"a line of {ANSWERS} or {JUDGMENTS} does not say what it answers; choose another --out") from None


def _keep(lines: Lines, held: dict[Key, Record], key: Key, found: Record) -> None:
    record = {**dict(zip(_KEYS, key, strict=True)), **found}
    lines.add(record)
    held[key] = record


def _all(outcome: Outcome) -> Iterator[tuple[Key, Question]]:
    for system in outcome.plan.systems:
        yield from outcome.keys(system)


def _ask(outcome: Outcome, key: Key, question: Question) -> Ask:
    """The conversation up to the turn of `key`, in which the model's own answers stand."""
    system, repeat, id, turn = key
    prompt = outcome.plan.systems[system]
    messages: list[Message] = [] if prompt is None else [{"role": "system", "content": prompt}]
    for before in range(turn):
        messages.append({"role": "user", "content": question.turns[before]})
        messages.append({"role": "assistant", "content": outcome.answers[system, repeat, id, before]["answer"]})
    messages.append({"role": "user", "content": question.turns[turn]})
    seed = seed_of(outcome.plan.seed, *key[1:]) if question.temperature > 0 else None
    return Ask(messages, question.temperature, outcome.plan.max_tokens, seed)


def _answers(outcome: Outcome, key: Key) -> list[str]:
    return [outcome.answers[(*key[:3], turn)]["answer"] for turn in range(key[3] + 1)]


def _agree(path: Path, settings: Record) -> None:
    """Keeps `settings` beside the run; raises DataError if it was begun with others. System prompts may be added."""
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [key for key in settings if key != "systems" and before[key] != settings[key]]
            systems = before["systems"]
            changed += [f"system prompt {name}" for name, text in settings["systems"].items() if systems.get(name, text) != text]
        except (ValueError, LookupError, TypeError, AttributeError):
            raise DataError(f"{path} is not of this program; choose another --out") from None
        if changed:
            raise DataError(f"{path.parent} holds a run with another {changed[0]}; choose another --out, or ask as before")
        settings = {**settings, "systems": {**systems, **settings["systems"]}}
    with written(path) as file:
        file.write(json.dumps(settings, ensure_ascii=False, indent=1).encode() + b"\n")


def _tell(progress: Progress | None, done: int, total: int, what: str) -> None:
    if progress is not None:
        progress(done, total, what)
