"""A folder of benchmark data of our own, in the layouts of docs/evaluation-data.md: a few items for each task."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mistral7b.evals.benchmarks import BBH, MMLU

PLACES = ("Rotterdam", "Bergen", "Porto", "Leipzig", "Ghent", "Turku", "Graz", "Nantes")


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def jsonl(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(records: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(records)
    return text.getvalue()


def write_items(folder: Path) -> Path:
    _choices(folder)
    _collections(folder)
    _written(folder)
    _programs(folder)
    _quac(folder)
    _agieval(folder)
    return folder


def _choices(folder: Path) -> None:
    for name, word in (("easy", "warm"), ("challenge", "cold")):
        put(
            folder / f"arc/arc_{name}_test.jsonl",
            jsonl(
                {"question": f"What is {word} in {place}?", "choices": [f"soup {at}", "ice", "a stone"], "answer": at % 3}
                for at, place in enumerate(PLACES)
            ),
        )
    put(
        folder / "boolq/boolq.jsonl",
        jsonl(
            {
                "query": f"Passage: {place} has {at} bridges.\nQuestion: is {place} bridged?",
                "choices": ["no", "yes"],
                "gold": at % 2,
            }
            for at, place in enumerate(PLACES)
        ),
    )
    letters = "ABCDE"
    asked = [
        {
            "answerKey": letters[at % 5],
            "question": {
                "stem": f"Where is {place}?",
                "choices": [{"label": letter, "text": f"land {letter.lower()}{at}"} for letter in letters],
            },
        }
        for at, place in enumerate(PLACES)
    ]
    put(folder / "commonsense_qa/dev_rand_split.jsonl", jsonl(asked[:3]))
    put(folder / "commonsense_qa/train_rand_split.jsonl", jsonl(asked[3:]))
    lines = [
        f"Rowing: A man rows to {place}. He waves. the crowd\n{at % 4}\nsings {at}.\nleaves [now] at  once.\nsleeps.\nsits.\n"
        for at, place in enumerate(PLACES)
    ]
    put(folder / "hellaswag/hellaswag_val_full.txt.bz2", bz2.compress("".join(lines).encode()))
    head = "ID\tQuestion Stem\tChoices\tComplete Question\tAnswer Key\n"
    book = [
        f"{at}\tA map of {place} shows\t(A) roads (B) a smell (C) time (D) a sound\t-\tA\n" for at, place in enumerate(PLACES)
    ]
    put(folder / "openbookqa/Main/test.tsv", head + "".join(book[:4]))
    put(folder / "openbookqa/Main/train.tsv", head + "".join(book[4:]))
    put(
        folder / "piqa/valid.jsonl",
        jsonl({"goal": f"reach {place}", "sol1": "take a train", "sol2": "take a spoon"} for place in PLACES),
    )
    put(folder / "piqa/valid-labels.lst", "0\n1\n" * 4)
    social = [
        {
            "question": f"Ann moved to {place}. How is Ann?",
            "answerA": "new",
            "answerB": "old",
            "answerC": "ill",
            "label": 1 + at % 3,
        }
        for at, place in enumerate(PLACES)
    ]
    put(folder / "siqa/dev.jsonl", jsonl(social))
    put(
        folder / "winogrande/dev.jsonl",
        jsonl(
            {
                "sentence": f"In {place} the cup fit the bag as the _ was small.",
                "option1": "cup",
                "option2": "bag",
                "answer": str(1 + at % 2),
            }
            for at, place in enumerate(PLACES)
        ),
    )


def _collections(folder: Path) -> None:
    for subject in MMLU:
        for split, places in (("dev", PLACES[:5]), ("test", PLACES[5:])):
            rows = [
                [f"Who, in {subject}, lives in {place}?", f"one {at}", "two", "three, or so", "four", at % 4]
                for at, place in enumerate(places)
            ]
            put(
                folder / f"mmlu/{split}/{subject}_{split}.csv",
                table([["question", "choice0", "choice1", "choice2", "choice3", "answer"], *rows]),
            )
    for task in BBH:
        examples = [{"input": f"In {place}, {task}?", "target": "Yes"} for place in PLACES[:2]]
        put(folder / f"bbh/bbh/{task}.json", json.dumps({"canary": "-", "examples": examples}))


def _written(folder: Path) -> None:
    put(
        folder / "gsm8k/test.jsonl",
        jsonl(
            {"question": f"{place} has {at} towers of 3 bells. How many bells?", "answer": f"{at} x 3 = {3 * at}.\n#### {3 * at}"}
            for at, place in enumerate(PLACES)
        ),
    )
    put(
        folder / "math/test.jsonl",
        jsonl(
            {
                "problem": f"Halve ${at}$.",
                "level": "Level 1",
                "type": "Algebra",
                "solution": f"It is $\\boxed{{\\frac{{{at}}}{{2}}}}$.",
                "idx": at,
            }
            for at in range(1, 5)
        ),
    )
    known = [{"question": f"who founded {place}", "answer": [f"duke {at}", f"the duke, {at}"]} for at, place in enumerate(PLACES)]
    put(folder / "nq_open/NQ-open.dev.jsonl", jsonl(known[:2]))
    put(folder / "nq_open/NQ-open.efficientqa.dev.1.1.jsonl", jsonl(known[2:]))
    put(
        folder / "triviaqa/triviaqa_sm_sub.jsonl",
        jsonl(
            {
                "context": f"Question: Which river crosses town {at}?\nAnswer:",
                "answer": f"River {at}",
                "aliases": [f"Stream {at}", f"River {at}"],
            }
            for at in range(12)
        ),
    )


def _programs(folder: Path) -> None:
    functions = [
        {
            "task_id": f"HumanEval/{at}",
            "prompt": f'def add{at}(n):\n    """Adds {at}."""\n',
            "entry_point": f"add{at}",
            "canonical_solution": f"    return n + {at}\n",
            "test": f"def check(candidate):\n    assert candidate(1) == {at + 1}\n",
        }
        for at in range(3)
    ]
    put(folder / "humaneval/HumanEval.jsonl.gz", gzip.compress(jsonl(functions).encode()))
    verified = [
        {
            "source_file": "-",
            "task_id": at,
            "prompt": f"Write a function to add {at}.",
            "code": f"def add(n):\n  return n + {at}",
            "test_imports": [],
            "test_list": [f"assert add({n}) == {n + at}" for n in range(4)],
        }
        for at in (2, 3, 4, 6, 11, 12, 511, 974)
    ]
    put(folder / "mbpp/sanitized-mbpp.json", json.dumps(verified))


def _quac(folder: Path) -> None:
    def turn(question: str, *answers: str) -> dict[str, Any]:
        return {
            "question": question,
            "answers": [{"text": text, "answer_start": 0} for text in answers],
            "orig_answer": {"text": answers[-1]},
        }

    asked = [
        turn("Where was she born?", "in Ghent", "in the city of Ghent"),
        turn("Did she marry?", "CANNOTANSWER", "CANNOTANSWER", "in Ghent"),
        turn("What did she paint?", "boats", "the sea"),
        turn("When did she die?", "in 1890"),
    ]
    section = {"context": "She was born in Ghent and painted boats. She died in 1890. CANNOTANSWER", "qas": asked, "id": "1"}
    article = {"title": "Mina Vos", "section_title": "Life", "background": "A painter.", "paragraphs": [section]}
    put(folder / "quac/val_v0.2.json", json.dumps({"data": [article]}))


def _agieval(folder: Path) -> None:
    tests = (
        "aqua-rat",
        "gaokao-english",
        "logiqa-en",
        "lsat-ar",
        "lsat-lr",
        "lsat-rc",
        "sat-en",
        "sat-en-without-passage",
        "sat-math",
    )

    def item(test: str, place: str) -> dict[str, Any]:
        passage = f"A text about {place}. " if "passage" in test or test in ("sat-en", "lsat-rc") else None
        return {
            "passage": passage,
            "question": f"What is {place}?",
            "options": ["(A)a town", "(B)a hill"],
            "label": "A",
            "answer": None,
        }

    for test in tests:
        put(folder / f"agieval/{test}.jsonl", jsonl(item(test, place) for place in PLACES[:2]))
    columns = [test for test in tests if test != "sat-en-without-passage"]
    rows = []
    for place in PLACES[2:5]:
        rows += [["sample", *(repr(item(test, place)) for test in columns)], ["explanation", *("It is a town." for _ in columns)]]
    put(folder / "agieval/few_shot_prompts.csv", table([["", *columns], *rows]))
