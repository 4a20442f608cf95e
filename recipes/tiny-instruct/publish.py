"""Put a finished run of recipes/tiny-instruct into the package: weights, configs, tokenizer, manifest, and a card with what the
judge found and ten unedited dialogues.

    python recipes/tiny-instruct/publish.py --run runs/tiny-instruct --out src/mistral7b/models/tiny-instruct
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from judge import held_out, judge, report, spread

from mistral7b import LLM
from mistral7b.checkpoint.manifest import write_manifest
from mistral7b.checkpoint.tokenizer_json import write_tokenizer_json

DIALOGUES = 10
KINDS = {  # rows of the table: the judge's group, and what of it counts
    "requests": ("ended in the asked form", "form"),
    "tools": ("the right call, name and all arguments", "right"),
}
CARD = """\
---
license: apache-2.0
library_name: mistral7b
base_model: tiny
---
# tiny-instruct

`tiny` taught to answer: the same {params:,} parameters after {tokens:,} more tokens ({steps:,} steps, every weight; {runs})
by `recipes/tiny-instruct`. It ends its answers and tells short stories to order, so that `chat` and `serve` can be tried without
a download. Its facts, sums, JSON and tool calls are often wrong (see below). It has had no safety training; it is for trying the
software, not for use.

## Judged

`python recipes/tiny-instruct/judge.py`, temperature 0, nothing forced, on requests and tools whose names, keys and phrasings
occur nowhere in training:

| held out | what counts | `tiny` | `tiny-instruct` |
|---|---|---|---|
{table}

## Data and licences

{sources}

The weights are released under Apache-2.0. What `tiny` was trained on stands in its own card.

## Dialogues

Evenly spread over the {count} held-out tasks, unedited; what follows the arrow is the answer, in brackets how it ended and what
the judge says.

{dialogues}
"""
SOURCES = """\
| source | what of it | licence | what it means for the weights |
|---|---|---|---|
| TinyStories (Eldan and Li, 2023), an excerpt | the texts of stories told to order | CDLA-Sharing-1.0 | shared data must stay \
under it; results of computing on the data are free |
| `recipes/tiny-instruct/kinds`, made by script | everything else | Apache-2.0 | none |"""


def judged(llm: LLM) -> tuple[dict[str, dict[str, float]], list[str]]:
    """(The shares by group, some dialogues as text)."""
    told = judge(llm, held_out())
    return report(told), spread(told, DIALOGUES)


def table(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> str:
    """A row for all requests, for all tool tasks, and for each kind of them."""
    rows = []
    for group in sorted(after, key=lambda name: (name.split(",")[0], name)):
        said, key = KINDS[group.split(",")[0]]
        rows.append(f"| {group} ({after[group]['count']:.0f}) | {said} | {before[group][key]:.0%} | {after[group][key]:.0%} |")
    return "\n".join(rows)


def fine_tunes(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """What is told of each run since `tiny`, the last one first."""
    return [facts, *fine_tunes(facts.get("base_training", {}))] if "base" in facts else []


def card(out: Path, runs: list[dict[str, Any]]) -> str:
    """The model card's text."""
    llm = LLM(out)
    after, dialogues = judged(llm)
    before, _ = judged(LLM("tiny"))
    return CARD.format(
        params=llm.model.config.n_params,
        tokens=sum(run["tokens"] for run in runs),
        steps=sum(run["steps"] for run in runs),
        runs="one run" if len(runs) == 1 else f"{len(runs)} runs, each from the model of the one before",
        table=table(before, after),
        sources=SOURCES,
        count=int(after["requests"]["count"] + after["tools"]["count"]),
        dialogues="\n\n".join(f"```\n{dialogue}\n```" for dialogue in dialogues),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)
    for path in (args.run / "model").iterdir():
        shutil.copyfile(path, args.out / path.name)
    facts = json.loads((args.out / "mistral7b.json").read_text(encoding="utf-8"))["training"]
    (args.out / "README.md").write_text(card(args.out, fine_tunes(facts)), encoding="utf-8")
    write_tokenizer_json(args.out / "tokenizer.model.v3", args.out, force=True)
    print(write_manifest(args.out))


if __name__ == "__main__":
    main()
