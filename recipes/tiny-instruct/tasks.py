"""Dialogues that `tiny-instruct` learns from, and the tasks that judge it. The same seed makes the same files.

    python recipes/tiny-instruct/tasks.py --corpus DATA/corpus/tinystories_excerpt.jsonl.gz --out runs/tiny-instruct/data
    python recipes/tiny-instruct/tasks.py --held-out --out recipes/tiny-instruct/held_out

Writes a JSON Lines file a kind, in the `messages` layout, and prints how many dialogues and tokens each has. Without --corpus
there are no stories.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from kinds.copying import copying
from kinds.facts import fact
from kinds.objects import json_order
from kinds.shapes import Maker, Task
from kinds.stories import ordered, read_stories, told
from kinds.talk import talk
from kinds.toolbox import one_call, tool_task

COUNTS = {"copying": 40000, "stories": 6000, "facts": 20000, "tools": 24000, "json": 20000, "talk": 10000}
HELD_OUT = {"stories": 50, "facts": 60, "json": 50, "talk": 40}
TOOL_TASKS = 100


def distinct(make: Maker, kind: Callable[[Maker], Task], count: int) -> Iterator[Task]:
    """`count` tasks (of a part of a file) of which no two ask the same with the same tools; fewer where the kind has no more."""
    seen: set[str] = set()
    for _ in range(30 * count):
        task = kind(make)
        asked = json.dumps([task.messages, task.tools])
        if asked not in seen:
            seen.add(asked)
            yield task
        if len(seen) == count:
            return


def training(kind: str, seed: int, count: int, corpus: Path | None, part: int = 0) -> Iterator[Task]:
    """The dialogues of one part of a kind. Its own random numbers, so that none depends on the counts of others."""
    make = Maker(Random(f"{seed}/{kind}" + (f"/{part}" if part else "")), held=False)
    if kind == "stories":
        held = read_stories(corpus) if corpus else []
        for number in range(count if held else 0):
            if number % len(held) == 0:
                make.rng.shuffle(held)  # every story is asked for before one is again
            yield told(make, held[number % len(held)])
    elif kind in {"facts", "talk"}:
        for _ in range(count):  # there are fewer different ones than that: they repeat
            yield (fact if kind == "facts" else talk)(make)
    else:
        yield from distinct(make, {"copying": copying, "json": json_order, "tools": tool_task}[kind], count)


def parts(kind: str, count: float) -> Iterator[int]:
    """The numbers of dialogues of a kind's parts, the usual number at most each: what one process makes at a time."""
    left = round(count * COUNTS[kind])
    while left > 0:
        yield min(left, COUNTS[kind])
        left -= COUNTS[kind]


def made(job: tuple[str, int, int, int, Path | None]) -> tuple[list[str], list[int]]:
    """(The lines of the part `kind, seed, count, part, corpus`, the lengths of its first thousand)."""
    kind, seed, count, part, corpus = job
    tasks = list(training(kind, seed, count, corpus, part))
    return [json.dumps(task.dialogue()) + "\n" for task in tasks], lengths(tasks[:1000])


def held_out(seed: int) -> dict[str, list[dict[str, Any]]]:
    """The files of tasks to judge by: 200 requests, 100 that a tool call answers."""
    kinds = {"stories": ordered, "facts": fact, "json": json_order, "talk": talk}
    requests = []
    for kind, count in HELD_OUT.items():
        make = Maker(Random(f"{seed}/held-out/{kind}"), held=True)
        requests += [task.question(kind) for task in distinct(make, kinds[kind], count)]
    make = Maker(Random(f"{seed}/held-out/tools"), held=True)
    return {"requests": requests, "tools": [task.question("tools") for task in distinct(make, one_call, TOOL_TASKS)]}


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def lengths(tasks: list[Task]) -> list[int]:
    """Tokens of each dialogue's longest prompt and reply, in the tokenizer of `tiny`."""
    from mistral7b.store.names import resolve
    from mistral7b.tokens.chat import render
    from mistral7b.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(resolve("tiny") / "tokenizer.model.v3")
    counts = []
    for task in tasks:
        reply = task.messages[-1]
        text = reply["content"] or json.dumps([call["function"] for call in reply["tool_calls"]])
        counts.append(len(render(tokenizer, task.messages[:-1], task.tools).ids) + len(tokenizer.encode(text)) + 1)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, help="JSON Lines of stories, gzipped, the text under `text`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=float, default=1.0, help="how many times the usual number of dialogues")
    parser.add_argument("--held-out", action="store_true", help="make the tasks to judge by instead")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.held_out:
        for name, lines in held_out(args.seed).items():
            write_lines(args.out / f"{name}.jsonl", lines)
        return
    jobs = [(kind, args.seed, n, part, args.corpus) for kind in COUNTS for part, n in enumerate(parts(kind, args.count))]
    texts: dict[str, list[str]] = {kind: [] for kind in COUNTS}
    samples: dict[str, list[int]] = {kind: [] for kind in COUNTS}
    with ProcessPoolExecutor() as pool:
        for (kind, *_), (dialogues, counts) in zip(jobs, pool.map(made, jobs), strict=True):
            texts[kind] += dialogues
            samples[kind] += counts
    for kind, dialogues in texts.items():
        if dialogues:
            (args.out / f"{kind}.jsonl").write_text("".join(dialogues), encoding="utf-8")
            sample = sorted(samples[kind])
            mean, high = sum(sample) / len(sample), sample[len(sample) * 95 // 100]
            print(f"{kind:8} {len(dialogues):7} dialogues, {mean:5.0f} tokens each, 95% at most {high}, longest {sample[-1]}")


if __name__ == "__main__":
    main()
