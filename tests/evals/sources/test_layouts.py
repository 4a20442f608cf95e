"""Layouts that differ from copy to copy, and items that are not what they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import DataError
from mistral7b.evals.sources.families import FAMILIES
from mistral7b.evals.sources.files import Folder, Splits
from mistral7b.evals.sources.hellaswag import halves
from mistral7b.evals.tasks import build
from tests.evals.items import jsonl, put, table, write_items


def read(family: str, data: Path, name: str = "") -> Splits:
    return FAMILIES[family].read(Folder(data), name or family)


def test_hellaswag_reads_alike_from_text_flat_json_and_upstream(tmp_path: Path) -> None:
    endings = ["sings 0.", "leaves [now] at  once.", "sleeps.", "sits."]
    write_items(tmp_path / "text")
    flat = {
        "ind": 0,
        "activity_label": "Rowing",
        "ctx": "A man rows to Rotterdam. He waves. the crowd",
        "label": 0,
        "endings": endings,
    }
    put(tmp_path / "flat/hellaswag/hellaswag_val_first300.jsonl", jsonl([flat]))
    upstream = {**flat, "ctx_a": "A man rows to Rotterdam. He waves.", "ctx_b": "the crowd", "split": "val", "source_id": "x"}
    put(tmp_path / "upstream/hellaswag/hellaswag_val.jsonl", jsonl([upstream]))
    rows = [build(["hellaswag"], tmp_path / layout)[0].task.task_docs[0] for layout in ("text", "flat", "upstream")]
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["query"] == "Rowing: A man rows to Rotterdam. He waves. The crowd"


@pytest.mark.parametrize(
    ("context", "parts"),
    [
        ("A man sits. he", ("A man sits.", "he")),
        ('She says "go!" then the two', ('She says "go!"', "then the two")),
        ("Boil the water. Add salt.", ("Boil the water. Add salt.", "")),
        ("Boil the water. Add salt", ("Boil the water. Add salt", "")),
        ("a man runs", ("a man runs", "")),
    ],
)
def test_the_unfinished_sentence_of_a_flat_context(context: str, parts: tuple[str, str]) -> None:
    assert halves(context) == parts


@given(st.lists(st.text("ab. !?'\"Z", max_size=6), max_size=6))
def test_halves_hold_the_whole_context(pieces: list[str]) -> None:
    context = " ".join(pieces)
    first, second = halves(context)
    assert first + context[len(first) : len(context) - len(second)] + second == context
    assert not context[len(first) : len(context) - len(second)].strip()


def test_mmlu_reads_upstream_files_without_header_and_with_letters(tmp_path: Path) -> None:
    write_items(tmp_path)
    ours = read("mmlu", tmp_path, "virology")
    for split in ("dev", "test"):
        rows = [[row["question"], *row["choices"], "ABCD"[row["answer"]]] for row in ours[split]]
        put(tmp_path / f"mmlu/{split}/virology_{split}.csv", table(rows))
    assert read("mmlu", tmp_path, "virology") == ours


def test_siqa_reads_the_situation_apart_or_with_the_question(tmp_path: Path) -> None:
    write_items(tmp_path)
    merged = read("siqa", tmp_path)["validation"][0]
    assert (merged["context"], merged["question"]) == ("Ann moved to Rotterdam.", "How is Ann?")
    put(tmp_path / "siqa/dev.jsonl", jsonl([merged]))
    assert read("siqa", tmp_path)["validation"] == [merged]


def test_nq_open_prefers_its_own_training_questions(tmp_path: Path) -> None:
    write_items(tmp_path)
    put(tmp_path / "nq_open/NQ-open.train.jsonl", jsonl([{"question": "who trains", "answer": ["me"]}]))
    assert [row["question"] for row in read("nq_open", tmp_path)["train"]] == ["who trains"]


def test_triviaqa_shows_the_end_of_the_file_and_asks_the_rest(tmp_path: Path) -> None:
    items = [{"context": f"Question: {at}?\nAnswer:", "answer": "x", "aliases": ["x"]} for at in range(250)]
    put(tmp_path / "triviaqa/triviaqa_sm_sub.jsonl", jsonl(items))
    splits = read("triviaqa", tmp_path)
    assert [row["question"] for row in splits["validation"]] == [f"{at}?" for at in range(150)]
    assert [row["question"] for row in splits["train"]] == [f"{at}?" for at in range(150, 250)]


def test_openbookqa_keeps_a_choice_that_names_another_letter(tmp_path: Path) -> None:
    line = "1\tWhich?\t(A) one (B) two (C) three (D) four (D) five\t-\tD\n"
    put(tmp_path / "openbookqa/Main/test.tsv", "ID\tQuestion Stem\tChoices\tComplete Question\tAnswer Key\n" + line)
    (row,) = read("openbookqa", tmp_path)["test"]
    assert row["choices"]["text"] == ["one", "two", "three", "four (D) five"]


def test_mbpp_is_divided_by_its_authors_ids(tmp_path: Path) -> None:
    write_items(tmp_path)
    ids = {name: [row["task_id"] for row in rows] for name, rows in read("mbpp", tmp_path).items()}
    assert ids == {"prompt": [2, 3, 4, 6], "test": [11, 12], "validation": [511], "train": [974]}


BROKEN: dict[str, tuple[str, Any, str]] = {
    "arc": ("arc_easy_test.jsonl", {"question": "?", "choices": ["a"], "answer": 1}, "1 is not the place of one of 1"),
    "boolq": (
        "boolq.jsonl",
        {"query": "Passage: a\nQuestion: b?", "choices": ["yes", "no"], "gold": 0},
        "the choices no and yes",
    ),
    "gsm8k": ("test.jsonl", {"question": "?", "answer": "5"}, "####"),
    "hellaswag": (
        "hellaswag_val.jsonl",
        {"activity_label": "", "ctx_a": "", "ctx_b": "", "label": 0, "endings": ["a", "b", "c"]},
        "3 endings, not four",
    ),
    "math": ("test.jsonl", {"problem": "", "level": "", "type": "", "solution": "5"}, "no .boxed answer"),
    "nq_open": ("NQ-open.dev.jsonl", {"question": "?", "answer": "me"}, "not a list of texts"),
    "siqa": ("dev.jsonl", {"question": "", "answerA": "", "answerB": "", "answerC": "", "label": 0}, "one of 3"),
    "triviaqa": ("triviaqa_sm_sub.jsonl", {"context": "?", "answer": "", "aliases": []}, "Answer:"),
    "winogrande": ("dev.jsonl", {"sentence": "no blank", "option1": "", "option2": "", "answer": "1"}, "no blank"),
}


@pytest.mark.parametrize("family", BROKEN)
def test_an_item_of_the_wrong_shape_is_refused(family: str, tmp_path: Path) -> None:
    write_items(tmp_path)
    file, item, said = BROKEN[family]
    put(tmp_path / family / file, jsonl([item]))
    with pytest.raises(DataError, match=rf"{file}:1: .*{said}"):
        read(family, tmp_path, "arc_easy" if family == "arc" else "")


def test_labels_must_be_as_many_as_items(tmp_path: Path) -> None:
    write_items(tmp_path)
    put(tmp_path / "piqa/valid-labels.lst", "0\n1\n")
    with pytest.raises(DataError, match="2 labels for 8 items"):
        read("piqa", tmp_path)


def test_agieval_without_its_examples_shows_other_items(tmp_path: Path) -> None:
    write_items(tmp_path)
    (tmp_path / "agieval/few_shot_prompts.csv").unlink()
    task = build(["agieval_aqua_rat"], tmp_path)[0].task
    assert task.config.num_fewshot == 1
    prompts = [task.fewshot_context(doc, num_fewshot=1) for doc in task.task_docs]
    assert [prompt.split("Q: What is ")[1:] for prompt in prompts] == [
        [f"{shown}? Answer Choices: (A)a town (B)a hill\nA: Among A through B, the answer is (A)a town\n\n",
         f"{asked}? Answer Choices: (A)a town (B)a hill\nA: Among A through B, the answer is"]
        for shown, asked in (("Bergen", "Rotterdam"), ("Rotterdam", "Bergen"))
    ]  # fmt: skip


def test_an_example_of_agieval_is_read_as_a_literal_only(tmp_path: Path) -> None:
    write_items(tmp_path)
    put(tmp_path / "agieval/few_shot_prompts.csv", table([["", "lsat-ar"], ["", "__import__('os').getcwd()"]]))
    with pytest.raises(DataError, match=r"few_shot_prompts\.csv:item 1: malformed node"):
        read("agieval", tmp_path, "lsat_ar")
    put(tmp_path / "agieval/few_shot_prompts.csv", table([["", "sat-en"], ["", json.dumps("")]]))
    with pytest.raises(DataError, match=r"few_shot_prompts\.csv:\d: "):
        read("agieval", tmp_path, "lsat_ar")
