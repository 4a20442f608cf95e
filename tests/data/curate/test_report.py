"""The report: every figure adds up, every text is escaped, nothing is fetched to show it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mistral7b.data.curate.book import Book, read_books
from tests.data.curate.made import lines, run, source, stories

EVIL = "<script>alert('x')</script> & <b>bold</b>"
VOID = {"meta", "br", "link", "img"}


class Outline(HTMLParser):
    """Tags that are opened and not closed, and those that reach out."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.reaches: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.reaches += [f"{tag} {name}" for name, value in attrs if name in ("src", "href", "action") or "http" in (value or "")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    held = stories(30)
    lines(tmp_path / "a.jsonl", [*held, f"{EVIL}\n{held[3]}", *held[:4], "Too short.", f"{EVIL} short"])
    lines(tmp_path / "b.jsonl", stories(10, 4))
    lines(tmp_path / "p.jsonl", [held[9].split("\n")[0], EVIL])
    steps = {
        "normalise": {}, "quality": {EVIL: {"gopher": {}}}, "exact_dedup": {},
        "minhash": {"n_grams": 3, "buckets": 20, "hashes": 2, "similarity": 0.5},
        "decontaminate": {"prompts": [str(tmp_path / "p.jsonl")]},
    }  # fmt: skip
    sources = {"a": source(tmp_path / "a.jsonl", licence=EVIL, epochs=3), "b": source(tmp_path / "b.jsonl")}
    return tmp_path / "out", run(tmp_path, sources, steps=steps, held_out=0.1, samples=5)


def test_the_figures_add_up(made: tuple[Path, dict[str, Any]]) -> None:
    out, report = made
    assert json.loads((out / "report.json").read_text()) == report
    names = [step["step"] for step in report["steps"]]
    assert names == ["read", "normalise", f"quality-{EVIL}", "exact-dedup", "near-dedup", "decontaminate"]
    for before, step in zip([None, *report["steps"]], report["steps"], strict=False):
        assert before is None or before["out"] == step["in"]
        for held in [step, *step["sources"].values()]:
            for key in ("documents", "bytes"):
                assert held["in"][key] - sum(tally[key] for tally in held["dropped"].values()) == held["out"][key]
        assert len(step["samples"]["kept"]) == 5
        for reason, tally in step["dropped"].items():
            assert len(step["samples"]["dropped"][reason]) == min(5, tally["documents"])
    total = report["total"]
    assert sum(total[split]["documents"] for split in total) == report["steps"][-1]["out"]["documents"]
    assert [sum(tally["documents"] for tally in step["dropped"].values()) for step in report["steps"]] == [0, 0, 2, 4, 1, 1]


def test_the_page_is_whole_escaped_and_alone(made: tuple[Path, dict[str, Any]]) -> None:
    out, report = made
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.reaches == []
    assert "b" in outline.tags
    assert not re.search(r"url\(|@import|https?:", page)
    said = " ".join(outline.text)
    for words in (
        "Through the steps",
        "Why documents were dropped",
        "Sources",
        "Kept and dropped, side by side",
        "Matches with prompts",
    ):
        assert words in said
    for step in report["steps"]:
        assert step["step"] in said
        for reason, tally in step["dropped"].items():
            assert reason in said
            assert f"{tally['documents']:,}" in said
    assert page.count("<svg") == 2
    assert "of a/a.jsonl:4, similarity" in said, "which document it repeats"


def test_books_add_up_in_any_order_to_the_same(tmp_path: Path) -> None:
    whole = Book("step", 3)
    paths = []
    for part in range(4):
        book = Book("step", 3)
        for i in range(part * 25, part * 25 + 25):
            for one in (whole, book):
                one.page("s").came.add(10, 2)
                one.kept("s", f"s/{i}", f"text {i}")
                one.dropped("s", f"s/x{i}", f"text {i}", f"reason {i % 2}", (10, 2))
                one.note("s", "noted")
        paths.append(tmp_path / f"{part}.json")
        book.save(paths[-1])
    for order in (paths, paths[::-1]):
        summed = read_books("step", order, 3)
        assert summed.examples == whole.examples
        assert summed.pages["s"].to_json() == whole.pages["s"].to_json()
    assert read_books("step", paths, 0).examples == {}
