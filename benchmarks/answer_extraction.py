"""Answers found in the gold solutions of GSM8K and MATH, and judged the same as themselves in other clothes and unlike others.

    python benchmarks/answer_extraction.py --data-dir ../shared/data/eval --json

For each set: solutions whose answer is found and equals the gold answer; the same with the answer said in other styles; answers
with one number changed that are still taken for the original (there should be none); answers read as mathematics that are not
understood and compared as words. The folder holds gsm8k/test.jsonl and math/test.jsonl.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mistral7b.evals.maths import gsm8k
from mistral7b.evals.maths.equivalent import equivalent
from mistral7b.evals.maths.extract import extract
from mistral7b.evals.maths.reading import Words, readings

STYLES = (
    "Final Answer: The final answer is ${}$. I hope it is correct.",
    "The answer is ${}$.\n\nProblem:\nFind $x$.\n\nSolution:\n$x = \\boxed{{7}}$",
    "Therefore the result is $\\fbox{{{}}}$, as desired.",
)
CLOTHES = (
    (r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2"), (r"\\frac", r"\\dfrac"), (r"\\left|\\right", ""),
    (r"\\sqrt\{(\d)\}", r"\\sqrt\1"), (r"\\text", r"\\mbox"),
    (r"\^\\circ", r"^{\\circ}"), (r"(?<=[+-]) ?|(?<=,)(?![} ]|\d{3})", " "), (r"\\pi", "π"), (r"\\\$|\\%", ""),
)  # fmt: skip


def records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def changed(answer: str) -> str | None:
    """`answer` with the last of its numbers one larger; None if it has none. The power of a unit is none."""
    numbers = list(re.finditer(r"(?<!\}\^)\d+", answer))
    if not numbers:
        return None
    last = numbers[-1]
    return answer[: last.start()] + str(int(last.group()) + 1) + answer[last.end() :]


def of_gsm8k(path: Path) -> dict[str, Any]:
    found, styled, n = 0, 0, 0
    for record in records(path):
        gold = record["answer"].rpartition("####")[2].strip()
        number = gold.replace(",", "")
        n += 1
        found += gsm8k.extract(record["answer"]) == number
        styled += all(
            gsm8k.extract(style.format(gold)) == number
            for style in ("The answer is {}.", "12 + 1 = 13, so \\boxed{{{}}}", "Answer: ${}.00")
        )
    return {"solutions": n, "found": found, "in other styles": styled}


def of_math(path: Path) -> dict[str, Any]:
    counts = dict.fromkeys(
        (
            "solutions",
            "found",
            "in other styles",
            "in other clothes",
            "changed",
            "changed, taken for the same",
            "mathematics read as words",
        ),
        0,
    )
    for record in records(path):
        solution = record["solution"]
        gold = extract(solution)
        counts["solutions"] += 1
        if gold is None:
            continue
        counts["found"] += equivalent(gold, extract(solution))
        counts["in other styles"] += all(equivalent(extract(style.format(gold)), gold) for style in STYLES)
        dressed = gold
        for pattern, put in CLOTHES:
            dressed = re.sub(pattern, put, dressed)
        if equivalent(dressed, gold):
            counts["in other clothes"] += 1
        else:
            print("not the same:", repr(gold), repr(dressed))
        other = changed(gold)
        if other is not None:
            counts["changed"] += 1
            if equivalent(other, gold):
                counts["changed, taken for the same"] += 1
                print("taken for the same:", repr(gold), repr(other))
        first = readings(gold)[0]
        if isinstance(first, Words) and "\\text" not in gold and "\\mbox" not in gold:
            counts["mathematics read as words"] += 1
            print("read as words:", repr(gold))
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("../shared/data/eval"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    started = time.perf_counter()
    found = {"gsm8k": of_gsm8k(args.data_dir / "gsm8k" / "test.jsonl"), "math": of_math(args.data_dir / "math" / "test.jsonl")}
    seconds = time.perf_counter() - started
    if args.json:
        print(json.dumps({**found, "seconds": seconds}))
        return
    for name, counts in found.items():
        for what, count in counts.items():
            print(f"{name:6} {what:28} {count:6,}")
    print(f"{seconds:.0f} s")


if __name__ == "__main__":
    main()
