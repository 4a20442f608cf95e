"""What drafts bring: tokens a forward, and speed beside plain decoding of the same requests, interleaved in one run.

    python benchmarks/drafts.py --rounds 8

Four kinds of text by `tiny`: after prompts that say one thing eight times, tool calls and JSON under a grammar, and stories
with nothing to copy. Both sides must write the same ids, or the run fails. Speeds are ratios as median (least,
most) over the rounds; a round's prompts are new, so nothing is found that an earlier round wrote.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from mistral7b import LLM, SamplingParams
from mistral7b.completion import Completion
from mistral7b.tokens import chat
from mistral7b.tokens.structured import StructuredOutput

Work = Callable[[LLM, random.Random], list[Completion]]

NAMES = ["Lily", "Tom", "Mia", "Ben", "Sue", "Max", "Anna", "Tim"]
THINGS = ["ball", "cake", "boat", "bird", "book", "hat", "tree", "drum"]
WEATHER = {
    "name": "get_current_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {
            "city_name": {"type": "string", "maxLength": 12},
            "temperature_unit": {"enum": ["celsius", "fahrenheit"]},
            "include_forecast": {"type": "boolean"},
        },
        "required": ["city_name", "temperature_unit", "include_forecast"],
        "additionalProperties": False,
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "first_name": {"type": "string", "maxLength": 10},
        "age_in_years": {"type": "integer", "minimum": 1, "maximum": 99},
        "favourite_colour": {"enum": ["red", "green", "blue"]},
        "has_a_pet": {"type": "boolean"},
    },
    "required": ["first_name", "age_in_years", "favourite_colour", "has_a_pet"],
    "additionalProperties": False,
}


def repeated(llm: LLM, chance: random.Random) -> list[Completion]:
    """A sentence eight times over, and what `tiny` makes of it: it goes on repeating itself, if not the sentence."""
    who, other = chance.sample(NAMES, 2)
    what, then = chance.sample(THINGS, 2)
    said = chance.choice([
        f'"Look at the {what}," said {who}. "I like the {what}," said {other}.\n',
        f"{who} had a big {what} and {other} had a little {then}. ",
        f"The {what} is red. The {then} is blue. ",
    ])  # fmt: skip
    return _complete(llm, said * 8, SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))


def stories(llm: LLM, chance: random.Random) -> list[Completion]:
    """Stories drawn from the model as it is."""
    opening = f"One day, {chance.choice(NAMES)} saw a {chance.choice(THINGS)}"
    return _complete(llm, opening, SamplingParams(seed=chance.getrandbits(32), max_tokens=150, ignore_eos=True))


def calls(llm: LLM, chance: random.Random) -> list[Completion]:
    """Calls of a tool that must be called."""
    assert llm.tokenizer is not None
    tools = [{"type": "function", "function": WEATHER}]
    asked = [{"role": "user", "content": f"{chance.choice(NAMES)} asks: what is the weather like?"}]
    params = SamplingParams(seed=chance.getrandbits(32), max_tokens=200)
    made = llm.grammars.calls
    return llm.prepare(
        chat.render(llm.tokenizer, asked, tools).ids, params, constraint=lambda: made(tools, required=True, parallel=False)
    )


def objects(llm: LLM, chance: random.Random) -> list[Completion]:
    """JSON that fits a schema."""
    opening = f"{chance.choice(NAMES)} as JSON: "
    form = StructuredOutput("json_schema", PERSON)
    return _complete(llm, opening, SamplingParams(seed=chance.getrandbits(32), max_tokens=200, structured=form))


def _complete(llm: LLM, prompt: str, params: SamplingParams) -> list[Completion]:
    assert llm.tokenizer is not None
    ids = llm.tokenizer.encode(prompt, bos=True)
    return llm.prepare(ids, params, prompt=prompt, context_ids=ids)


WORKS: dict[str, Work] = {"repeated": repeated, "calls": calls, "objects": objects, "stories": stories}


def run(llm: LLM, work: Work, seed: int, each: int) -> dict[str, Any]:
    """One after another, `each` requests; the prompts' forwards are left out."""
    ids, seconds, steps, tokens = [], 0.0, 0, 0
    chance = random.Random(seed)
    for _ in range(each):
        (completion,) = work(llm, chance)
        request = completion.request
        llm.engine.add(request)
        while not request.output:
            llm.engine.step()
        first, before, started = len(request.output), llm.engine.stats.steps, time.perf_counter()
        while not llm.engine.idle:
            llm.engine.step()
        seconds += time.perf_counter() - started
        steps += llm.engine.stats.steps - before
        tokens += len(request.output) - first
        ids += [sampled.id for sampled in request.output]
    return {"ids": ids, "speed": tokens / seconds, "per_forward": tokens / steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--each", type=int, default=4, help="requests a round and side")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    plain = LLM("tiny", speculative=False, enable_prefix_caching=False)
    drafted = LLM("tiny", enable_prefix_caching=False)
    rows = []
    for name, work in WORKS.items():
        ratios, per_forward, plainly = [], [], []
        for seed in range(args.rounds + 1):
            sides = [drafted, plain] if seed % 2 else [plain, drafted]
            found = {side is drafted: run(side, work, seed, args.each) for side in sides}
            assert found[True]["ids"] == found[False]["ids"], f"{name}: drafts changed what was written"
            ratios.append(found[True]["speed"] / found[False]["speed"])
            per_forward.append(found[True]["per_forward"])
            plainly.append(found[False]["per_forward"])
        ratios, per_forward, plainly = ratios[1:], per_forward[1:], plainly[1:]  # the first round warms up
        rows.append({"text": name, "tokens_per_forward": statistics.median(per_forward)})
        rows[-1]["plain_per_forward"] = statistics.median(plainly)
        rows[-1]["speed"] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    if args.json:
        print(json.dumps({"rounds": args.rounds, "threads": args.threads, "rows": rows}))
        return
    for row in rows:
        speed = row["speed"]
        print(
            f"{row['text']:<9} {row['tokens_per_forward']:5.2f} tokens a forward ({row['plain_per_forward']:.2f} plain), "
            f"{speed['median']:.2f} ({speed['least']:.2f}, {speed['most']:.2f}) times the plain speed"
        )


if __name__ == "__main__":
    main()
