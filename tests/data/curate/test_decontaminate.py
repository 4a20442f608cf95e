"""Decontamination: what is asked is found wherever it stands in a text, and nothing else is."""

from __future__ import annotations

import bz2
import gzip
import json
import random
from pathlib import Path

import pytest
from benchmarks.curation_plants import with_line
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.curate.decontaminate import merged, without
from mistral7b.data.curate.ngrams import Index, WordHashes, build
from mistral7b.data.curate.prompts import Prompt, read_prompts, strings
from mistral7b.data.curate.words import plain_words
from mistral7b.errors import DataError
from tests.data.curate.made import dropped, lines, run, source, stories, story, texts

QUESTIONS = [story(random.Random(100 + i), 1) for i in range(200)]
LONG = [question for question in QUESTIONS if len(plain_words(question)) >= 13][:20]


def test_twenty_questions_are_found_and_nothing_else_is_dropped(tmp_path: Path) -> None:
    dice = random.Random(1)
    clean = stories(200, 7)
    asked = [
        with_line(text, question.upper().replace(" ", "  ").replace(",", ";"), dice)
        for text, question in zip(stories(20, 8), LONG, strict=True)
    ]
    lines(tmp_path / "a.jsonl", [*clean, *asked])
    lines(tmp_path / "prompts/bench/test.jsonl", [{"question": question, "answer": "No"} for question in LONG])
    steps = {"decontaminate": {"prompts": [str(tmp_path / "prompts")]}}
    report = run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=steps)
    assert texts(tmp_path / "out") == clean
    assert dropped(report, "decontaminate") == {"holds a prompt": 20}
    assert report["prepared"]["prompts"]["looked_for"] == 20
    assert report["prepared"]["prompts"]["too_short"] == 20, "the answers"
    matches = [json.loads(line) for line in (tmp_path / "out/contamination.jsonl").read_text().splitlines()]
    assert report["contamination"]["matches"] == len(matches) == 20
    for i, match in enumerate(matches):
        assert match["document"] == f"s/a.jsonl:{201 + i}"
        assert (match["prompt"], match["line"]) == ("bench/test.jsonl", i + 1)
        assert match["words"] == " ".join(plain_words(LONG[i]))
    steps["decontaminate"]["action"] = "cut"  # type: ignore[assignment]
    report = run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=steps, out="cut")
    assert texts(tmp_path / "cut") == [*clean, *stories(20, 8)], "the lines of the questions are gone, all else is there"
    assert next(step for step in report["steps"] if step["step"] == "decontaminate")["changed"] == 20


def test_what_is_left_of_a_cut_must_be_worth_keeping(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [f"Hello.\n{LONG[0]}", "a quiet day"])
    lines(tmp_path / "p.jsonl", [LONG[0]])
    steps = {"decontaminate": {"prompts": [str(tmp_path / "p.jsonl")], "action": "cut"}}
    report = run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=steps)
    assert dropped(report, "decontaminate") == {"little left after the cut": 1}


def test_short_prompts_match_whole_and_shorter_ones_not_at_all() -> None:
    held = [Prompt("one two three four five six seven eight", "p", 1), Prompt("Yes, of course.", "p", 2)]
    index = build(held, 13, 8)
    assert (index.too_short, [table.n for table in index.tables]) == (1, [8])

    def found(text: str) -> list[tuple[int, int]]:
        return [hit for table in index.tables for hit in table.find(WordHashes().of(plain_words(text)))]

    assert found("zero One, two: THREE four five six seven eight nine") == [(1, 0)]
    assert found("one two three four five six seven") == []
    assert found("yes of course") == []
    assert found("") == []


@given(st.data())
def test_every_run_of_n_words_is_found_and_no_other(data: st.DataObject) -> None:
    words = st.lists(st.sampled_from("abcdefgh"), max_size=25)
    prompts = data.draw(st.lists(words, max_size=4))
    text, n, shortest = data.draw(words), data.draw(st.integers(2, 6)), data.draw(st.integers(1, 2))
    index = build([Prompt(" ".join(prompt), "p", i) for i, prompt in enumerate(prompts)], n, shortest)
    wanted = set()
    for prompt in prompts:
        length = min(n, len(prompt))
        if length >= shortest:
            pieces = {tuple(prompt[i : i + length]) for i in range(len(prompt) - length + 1)}
            wanted |= {(i, length) for i in range(len(text) - length + 1) if tuple(text[i : i + length]) in pieces}
    hits = {(start, table.n) for table in index.tables for start, _ in table.find(WordHashes().of(text))}
    assert hits == wanted


def test_an_index_comes_back_from_disk(tmp_path: Path) -> None:
    index = build([Prompt(question, "a\tb.csv", i) for i, question in enumerate(QUESTIONS)], 13, 5)
    index.save(tmp_path)
    back = Index.load(tmp_path)
    assert (back.places, back.too_short) == (index.places, index.too_short)
    for ours, theirs in zip(index.tables, back.tables, strict=True):
        assert (ours.n, ours.runs.tolist(), ours.prompts.tolist()) == (theirs.n, theirs.runs.tolist(), theirs.prompts.tolist())


def test_passages() -> None:
    assert merged([(10, 3, 1), (12, 3, 2), (15, 2, 3), (30, 3, 4)]) == [(10, 17, 1), (30, 33, 4)]
    text = "One two.\nThree four five.\nSix.\nSeven eight.\n"
    assert without(text, [(2, 4)]) == "One two.\nSix.\nSeven eight."
    assert without(text, [(4, 6)]) == "One two.\nSeven eight."
    assert without(text, [(1, 2), (3, 4)]) == "Six.\nSeven eight."
    assert without(text, [(0, 8)]) == ""


def test_prompts_of_every_form(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps({"canary": "x", "examples": [{"input": "q one"}, {"input": "q two", "more": ["deep"]}]})
    )
    (tmp_path / "b.csv").write_text('question,choice\n"q three,\nwith a comma",c\n')
    (tmp_path / "c.txt.bz2").write_bytes(bz2.compress(b"q four\n\nq five\n"))
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"turns": ["q six", "q seven"], "n": 3}\n', mtime=0))
    (tmp_path / "README.txt").write_text("not a prompt")
    (tmp_path / "e.bin").write_bytes(b"\x00")
    found = [(prompt.text, prompt.file, prompt.line) for prompt in read_prompts([tmp_path], None, ["README*"])]
    assert found == [
        ("q one", "a.json", 1), ("q two", "a.json", 2), ("deep", "a.json", 2),
        ("question", "b.csv", 1), ("choice", "b.csv", 1), ("q three,\nwith a comma", "b.csv", 2), ("c", "b.csv", 2),
        ("q four", "c.txt.bz2", 1), ("q five", "c.txt.bz2", 3), ("q six", "d.jsonl.gz", 1), ("q seven", "d.jsonl.gz", 1),
    ]  # fmt: skip
    keyed = [prompt.text for prompt in read_prompts([tmp_path], ["question", "input", "turns"], ["README*", "*.txt*"])]
    assert keyed == ["q one", "q two", "question", "q three,\nwith a comma", "q six", "q seven"]
    assert list(strings({"a": {"b": ["x", {"c": "y"}]}, "d": "z"}, ["b"])) == ["x", "y"]


@pytest.mark.parametrize(
    ("name", "held", "said"),
    [
        ("p.jsonl", b'{"a": "b"}\nbroken\n', r"p\.jsonl:2: not JSON"),
        ("p.txt", b"\xff\xfe", r"p\.txt: a file of prompts must be UTF-8"),
        ("p.bin", b"", r"prompts: no .* file with text"),
        ("p.txt.gz", gzip.compress(b"one two\n" * 99, mtime=0)[:-8], r"p\.txt\.gz: the compressed file is cut off"),
    ],
)
def test_bad_prompts_are_named(tmp_path: Path, name: str, held: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(held)
    with pytest.raises(DataError, match=said):
        list(read_prompts([tmp_path], None, []))
    with pytest.raises(DataError, match="none is not there"):
        list(read_prompts([tmp_path / "none"], None, []))
