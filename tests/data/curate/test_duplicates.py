"""Duplicates, exact and near: which go, which stay, and by whose share."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from benchmarks.curation_plants import edited, same_words
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.curate.duplicates import fingerprint
from mistral7b.data.curate.ngrams import WordHashes, runs
from mistral7b.data.curate.words import plain_words
from tests.data.curate.made import documents, dropped, histoire, lines, run, source, stories, texts

BOTH = {"exact_dedup": {}, "minhash": {"n_grams": 3, "buckets": 40, "hashes": 3, "similarity": 0.25}}


def test_fingerprints_are_of_words() -> None:
    assert fingerprint("One,  two\nTHREE!") == fingerprint("one two three")
    assert fingerprint("one two") != fingerprint("two one")
    assert fingerprint("!!!") != fingerprint("???")


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.integers(1, 15))
def test_runs_are_equal_where_the_words_are(words: list[str], n: int) -> None:
    found = runs(WordHashes().of(words), n).tolist()
    wanted = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    assert len(found) == len(wanted)
    for i, one in enumerate(wanted):
        assert [other == one for other in wanted] == [number == found[i] for number in found]


@pytest.mark.parametrize("megabytes", [64, 0.02])
def test_the_first_of_a_kind_stays_whatever_the_units(tmp_path: Path, megabytes: float) -> None:
    dice = random.Random(1)
    held = stories(60)
    first = lines(tmp_path / "first.jsonl", held)
    copies = [same_words(text, dice) for text in held[:20]] + [edited(text, 0.05, dice, ["new", "words"]) for text in held[20:40]]
    lines(first, [*held, *copies[::2]])
    second = lines(tmp_path / "second.jsonl", [*copies[1::2], held[50], held[50]])
    report = run(tmp_path, {"a": source(first), "b": source(second)}, steps=BOTH, shard_megabytes=megabytes)
    assert sorted(texts(tmp_path / "out")) == sorted(held), "every original, and nothing else"
    assert {one["source"] for one in documents(tmp_path / "out")} == {"a"}
    assert dropped(report, "exact-dedup") == {"duplicate": 22}
    assert dropped(report, "near-dedup") == {"near duplicate": 20}
    shown = next(step for step in report["steps"] if step["step"] == "near-dedup")["samples"]["dropped"]["near duplicate"]
    assert all(one["detail"].startswith("of a/first.jsonl:") for one in shown)


def test_the_order_of_the_recipe_decides(tmp_path: Path) -> None:
    held = stories(5)
    first, second = lines(tmp_path / "z.jsonl", held), lines(tmp_path / "a.jsonl", held)
    run(tmp_path, {"z": source(first), "a": source(second)}, steps=BOTH)
    assert {one["source"] for one in documents(tmp_path / "out")} == {"z"}


def test_recall_by_edit_rate_is_what_the_formula_says(tmp_path: Path) -> None:
    """Each word edited with probability r: a run of three survives with (1 - r)^3. Half of the runs of both texts together ..."""
    dice, n = random.Random(5), 60
    held = stories(3 * n, 3)
    words = sorted({word for text in held for word in plain_words(text)})
    rates = (0.05, 0.10, 0.20)
    copies = [edited(text, rates[i // n], dice, words) for i, text in enumerate(held)]
    lines(tmp_path / "a.jsonl", [*held, *copies])
    settings = {
        "fine": {"n_grams": 3, "buckets": 40, "hashes": 3, "similarity": 0.25},
        "published": {"n_grams": 5, "buckets": 14, "hashes": 8},
    }
    found: dict[str, list[float]] = {}
    for name, minhash in settings.items():
        run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps={"minhash": minhash}, out=name)
        left = set(texts(tmp_path / name))
        assert left >= set(held), "no story is taken for another"
        found[name] = [sum(text not in left for text in copies[i * n : (i + 1) * n]) / n for i in range(3)]
        for rate, recall in zip(rates, found[name], strict=True):
            kept = (1 - rate) ** int(minhash["n_grams"])
            share = kept / (2 - kept)
            meets = 1 - (1 - share ** minhash["hashes"]) ** minhash["buckets"]
            spread = math.sqrt(max(meets * (1 - meets), 0.02) / n)
            # Shares differ from text to text, so recall is not the formula's at the mean share: allow for it.
            assert abs(recall - meets) < 4 * spread + 0.15, (name, rate, recall, meets)
    assert found["fine"][0] == 1.0
    assert found["fine"][1] >= 0.98
    assert found["fine"][2] >= 0.6
    assert found["published"][2] <= 0.1, "FineWeb's settings are made for copies, not for texts rewritten"


def test_similarity_tells_chance_from_likeness(tmp_path: Path) -> None:
    """One bucket of one hash makes nearly all meet; the share of all hashes keeps them apart."""
    opening = "Once upon a time there was a little girl who lived with her mother and her father in a house. "
    held = [opening + text for text in stories(40)]
    lines(tmp_path / "a.jsonl", [*held, edited(held[0], 0.05, random.Random(1), ["x"])])
    loose = {"minhash": {"n_grams": 3, "buckets": 100, "hashes": 1}}
    run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=loose)
    assert len(texts(tmp_path / "out")) < 20
    loose["minhash"]["similarity"] = 0.4  # type: ignore[assignment]
    run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=loose, out="checked")
    assert texts(tmp_path / "checked") == held


def test_scope_and_short_texts(tmp_path: Path) -> None:
    """What is out of scope is neither dropped nor compared with; a text shorter than an n-gram has no near duplicate."""
    dice = random.Random(2)
    english, french = stories(3), [histoire(dice) for _ in range(3)]
    lines(tmp_path / "a.jsonl", [*english, *english, *french, *french, "two words", "Two words."])
    scoped = {name: {**held, "languages": ["en"]} for name, held in BOTH.items()}
    steps = {"language": {"among": ["en", "fr"]}, **scoped}
    run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=steps)
    assert texts(tmp_path / "out") == [*english, *french, *french, "two words"]


def test_a_source_and_a_unit_without_documents_left(tmp_path: Path) -> None:
    """Files of signatures may be empty."""
    lines(tmp_path / "a.jsonl", ["x", "y"])
    lines(tmp_path / "b.jsonl", stories(3))
    steps = {"quality": {"all": {"gopher": {}}}, **BOTH}
    run(tmp_path, {"a": source(tmp_path / "a.jsonl"), "b": source(tmp_path / "b.jsonl")}, steps=steps)
    assert texts(tmp_path / "out") == list(stories(3))
