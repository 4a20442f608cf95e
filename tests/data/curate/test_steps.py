"""Each step alone: what it keeps, what it drops, and that it keeps to its kinds and languages."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from datatrove.data import Document
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.curate.code import CodeStep, entropy
from mistral7b.data.curate.cut import parts
from mistral7b.data.curate.language import LanguageStep
from mistral7b.data.curate.mix import epochs
from mistral7b.data.curate.normalise import NormaliseStep, normalised
from mistral7b.data.curate.personal import iban, luhn, phone, replaced
from mistral7b.data.curate.quality import QualityStep
from mistral7b.data.curate.recipe import (
    C4,
    Classifier,
    Code,
    CurateRecipe,
    FineWeb,
    Gopher,
    Language,
    Mix,
    Normalise,
    Quality,
    Repetition,
    Source,
    Toxicity,
)
from mistral7b.data.curate.step import Desk, Step
from mistral7b.data.curate.toxicity import ToxicityStep, word_lists
from mistral7b.data.curate.words import WORDS, plain_spans, plain_words
from mistral7b.errors import DataError
from tests.data.curate.made import dropped, histoire, lines, program, run, source, stories, story, texts

ENGLISH = Quality(gopher=Gopher(), repetition=Repetition(), fineweb=FineWeb(char_duplicates_ratio=0.1))
FRENCH = Quality(gopher=Gopher(stop_words=["le", "la", "les", "de", "et", "un", "une", "que"]), repetition=Repetition())


def passes(step: Step, *given: str, kind: str = "prose", language: str = "en", licence: str = "MIT") -> list[str]:
    """For each text, "" if it is kept, else the reason."""
    desk = step.desk
    found = []
    for i, text in enumerate(given):
        held = {"source": "s", "kind": kind, "language": language, "licence": licence, "size": desk.size(text)}
        left = list(step.run([Document(text=text, id=str(i), metadata=held)]))
        reasons = [reason for page in step.book.pages.values() for reason in page.dropped]
        found.append("" if left else reasons[-1])
        step.book.pages.clear()
    return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "books", 2)


def test_normalise() -> None:
    assert normalised("a\r\nb\rc\u2028d\x0ce") == "a\nb\nc\nd\ne"
    assert normalised("cafe\u0301  \n\tx \t\n") == "café\n\tx"
    assert normalised("\ufeffa\x00b\u200bc\u202ed") == "abcd"
    assert normalised("a\n\n\n\n\n\nb") == "a\n\n\nb"
    assert normalised("a\n\n\n\nb", blank_lines=0) == "a\nb"
    assert normalised("ﬁne", "NFKC") == "fine"
    assert normalised("👩‍🚀 نامه‌ای") == "👩‍🚀 نامه‌ای", "joiners are letters' business"


@given(st.text())
def test_normalised_text_stays_as_it_is(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once


@given(st.text())
def test_plain_words_and_their_places(text: str) -> None:
    spans = plain_spans(text)
    words = plain_words(text)
    assert len(words) == len(spans)
    for word, (start, end) in zip(words, spans, strict=True):
        assert plain_words(text[start:end]) in ([word], []) or len(text.lower()) != len(text)


def test_words_as_rules_count_them() -> None:
    assert WORDS.word_tokenize('"Don\'t -- stop," he said... #1 {x}') == ["Don't", "stop", "he", "said", "#", "1", "{", "x", "}"]
    assert WORDS.word_tokenize("你好 mother-in-law") == ["你", "好", "mother-in-law"]
    assert WORDS.sent_tokenize('Hi. "How?" he said. Well...') == ["Hi.", '"How?"', "he said.", "Well..."]
    assert plain_words("Don’t STOP -- don't!") == ["dont", "stop", "dont"]


def test_nothing_left_is_dropped(desk: Desk) -> None:
    assert passes(NormaliseStep(desk, Normalise()), "\u200b\n\n", "a") == ["nothing left", ""]


def test_languages(desk: Desk) -> None:
    dice = random.Random(1)
    german = "Der alte Mann ging langsam durch den Wald und suchte seinen Hund, der am Morgen davongelaufen war. " * 3
    held = [*stories(5), *(histoire(dice) for _ in range(5)), german]
    both = LanguageStep(desk, Language(keep=["en", "fr"]))
    assert passes(both, *held, language="") == [""] * 10 + ["language de"]
    english = LanguageStep(desk, Language(keep=["en"]))
    assert passes(english, *held, language="") == [""] * 5 + ["language fr"] * 5 + ["language de"]
    assert passes(english, held[7], language="en") == [""], "a stated language is believed"
    assert passes(english, "def f(x): return x", kind="code", language="python") == [""], "code has its own"
    mixed = "Hello my friend, il fait beau aujourd'hui, and we are happy, n'est-ce pas, to see you."
    assert passes(LanguageStep(desk, Language(keep=["en", "fr"], threshold=0.9999)), mixed, language="") == ["language unsure"]


def test_prose_and_code_survive_their_own_rules_and_die_in_the_others(desk: Desk) -> None:
    dice = random.Random(2)
    english, french, code = stories(20, 2), [histoire(dice) for _ in range(20)], [program(dice) for _ in range(20)]
    root = Path(__file__).parents[3] / "src/mistral7b"
    code += [path.read_text(encoding="utf-8") for path in sorted(root.glob("engine/[a-z]*.py"))]
    for_english, for_french, for_code = (
        QualityStep(desk, "en", ENGLISH), QualityStep(desk, "fr", FRENCH), CodeStep(desk, Code(min_characters=10)),
    )  # fmt: skip
    assert set(passes(for_english, *english)) == {""}
    assert set(passes(for_french, *french, language="fr")) == {""}
    assert set(passes(for_code, *code, kind="code")) == {""}
    assert set(passes(for_english, *french)) == {"gopher: enough stop words"}
    assert set(passes(for_french, *english, language="fr")) == {"gopher: enough stop words"}
    assert "" not in passes(for_english, *code)
    assert "" not in passes(for_code, *english, *french, kind="code")
    any_line = CodeStep(desk, Code(max_mean_line_length=None, max_line_length=None))
    assert set(passes(any_line, *english, *french, kind="code")) == {"symbol share too low"}


def test_thresholds_are_the_recipes(desk: Desk) -> None:
    short = "One day the cat was sad. She had no ball. The dog gave her a ball. And they were happy with it."
    assert passes(QualityStep(desk, "a", Quality(gopher=Gopher())), short) == ["gopher: short doc"]
    assert passes(QualityStep(desk, "a", Quality(gopher=Gopher(min_doc_words=20))), short) == [""]
    assert passes(QualityStep(desk, "a", Quality(repetition=Repetition())), "And so on and on. " * 30) != [""]
    spam = "Win a prize now. " * 5 + "\n" + short
    assert passes(QualityStep(desk, "a", Quality(c4=C4())), spam + "\nLorem ipsum dolor sit amet.") == ["c4: lorem ipsum"]
    assert passes(QualityStep(desk, "a", Quality(c4=C4())), "x = {\n" + short) == ["c4: too few sentences"]
    assert passes(QualityStep(desk, "a", Quality(gopher=Gopher())), "... !!! ---") == ["no words"]


def test_c4_takes_out_lines_and_the_rest_goes_on(tmp_path: Path) -> None:
    text = "\n".join(["Menu", *stories(1)[0].split("\n\n"), "We use cookies to track you, read our policy.", "Share this"])
    lines(tmp_path / "a.jsonl", [text])
    report = run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps={"quality": {"web": {"c4": {}}}})
    assert texts(tmp_path / "out") == [stories(1)[0].replace("\n\n", "\n")]
    assert report["steps"][1]["changed"] == 1


@pytest.mark.parametrize(
    ("text", "rules", "reason"),
    [
        ("x = 1\n", {}, "characters too low"),
        ("x = [" + "1, " * 600 + "]\n", {}, "longest line too high"),
        (("y = " + "a" * 150 + "\n") * 5, {}, "mean line too high"),
        ("# @generated by a tool, do not edit\n" + "x = f(1)\n" * 20, {}, "generated file"),
        ("# Code generated from a.proto\n" + "x = f(1)\n" * 20, {}, "generated file"),
        ("x = f(1)\n" * 20 + "# generated by hand, far below\n", {"min_entropy": None}, ""),
        ("{}{}()\n" * 20, {}, "alphanumeric share too low"),
        ("f(0, 0, 0)\n" * 30, {}, "entropy too low"),
        ("def f(x):\n    return x + 1  # one more\n" * 5, {"licences": ["Apache-2.0"]}, "licence"),
        ("def f(x):\n    return x + 1  # one more\n" * 5, {"licences": ["MIT"]}, ""),
    ],
)
def test_rules_for_code(desk: Desk, text: str, rules: dict[str, object], reason: str) -> None:
    assert passes(CodeStep(desk, Code(**rules)), text, kind="code") == [reason]  # type: ignore[arg-type]


def test_base64_has_too_much_entropy_and_entropy_is_in_bits(desk: Desk) -> None:
    dice = random.Random(3)
    signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    blob = "\n".join("".join(dice.choices(signs, k=76)) for _ in range(40))
    assert passes(CodeStep(desk, Code()), blob, kind="code") == ["entropy too high"]
    assert entropy("aabb") == 1
    assert entropy("abcd" * 5) == 2


def test_listed_words(desk: Desk, tmp_path: Path) -> None:
    lists = word_lists(Toxicity())
    rude, grossier = sorted(lists["en"])[3], sorted(lists["fr"] - lists["en"])[5]
    (clean,) = stories(1)
    step = ToxicityStep(desk, Toxicity(), tmp_path)
    assert passes(step, clean, f"{clean}\nYou {rude.upper()}!") == ["", "listed words"]
    assert passes(step, f"{clean}\nQuel {grossier} !", language="fr") == ["listed words"]
    assert passes(step, f"{clean}\nQuel {grossier} !", language="en") == [""], "another language's words may be innocent"
    assert passes(step, f"{clean}\nQuel {grossier} !", language="de") == ["listed words"], "no list of its own: all of them"
    long = "\n".join(stories(10))
    assert passes(step, f"{long}\nYou {rude}!") == [""], "one word in thousands is a quotation"
    (tmp_path / "own.txt").write_text("# mine\nlantern\n")
    assert passes(ToxicityStep(desk, Toxicity(words={"en": tmp_path / "own.txt"}), tmp_path), "The lantern.") == ["listed words"]


def labelled(n: int, seed: int) -> list[dict[str, object]]:
    """Insults and stories: label 1 for what a rude person says without any listed word."""
    dice = random.Random(seed)
    insults = ("you are stupid and worthless", "nobody likes you, go away", "shut up, you ugly idiot", "I hate you and your kind")
    found: list[dict[str, object]] = []
    for i in range(n):
        said = story(dice, 2)
        found.append({"text": f"{said} {dice.choice(insults)}, {dice.choice(insults)}." if i % 2 else said, "label": i % 2})
    return found


def test_the_classifier_learns_is_measured_and_is_kept_without_pickle(tmp_path: Path) -> None:
    train, test = lines(tmp_path / "train.jsonl", labelled(120, 1)), lines(tmp_path / "test.jsonl", labelled(60, 2))  # type: ignore[arg-type]
    text = [*stories(6), *(str(one["text"]) for one in labelled(20, 3) if one["label"])]
    lines(tmp_path / "a.jsonl", text)
    steps = {"toxicity": {"classifier": {"train": str(train), "test": str(test), "buckets": 4096, "passes": 5}}}
    report = run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=steps)
    told = report["prepared"]["classifier"]
    assert told["texts"] == 60
    assert told["positive"] == 30
    assert told["precision"] >= 0.95
    assert told["recall"] >= 0.95
    assert texts(tmp_path / "out")[:6] == text[:6]
    assert dropped(report, "toxicity")["classifier"] >= 8
    with np.load(tmp_path / "out/toxicity.npz", allow_pickle=False) as held:
        assert held["weights"].shape == (4096,)
    first = (tmp_path / "out/toxicity.npz").read_bytes()
    run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps=steps, out="again")
    assert (tmp_path / "again/toxicity.npz").read_bytes() == first


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ('{"text": "a", "label": 1}\n{"text": "b"}\n', r"l\.jsonl:2: not"),
        ('{"text": "a", "label": 1}\n', "every label is 1"),
        ("nonsense\n", r"l\.jsonl:1: not JSON"),
        ("", "no labelled lines"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, held: str, said: str) -> None:
    from mistral7b.data.curate.classifier import train

    (tmp_path / "l.jsonl").write_text(held)
    with pytest.raises(DataError, match=said):
        train(Classifier(tmp_path / "l.jsonl", tmp_path / "l.jsonl"))


FIND = ["email", "phone", "ip", "iban", "card"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Write to jo.smith+x@mail.example.co.uk!", "Write to <email>!"),
        ("Call +33 6 12 34 56 78 or (212) 555-0187-22.", "Call <phone> or <phone>."),
        ("IBAN GB82 WEST 1234 5698 7654 32, please", "IBAN <iban>, please"),
        ("card 4539 1488 0343 6467", "card <card number>"),
        ("from 8.8.4.4 and 2001:4860:4860::8888", "from <ip address> and <ip address>"),
        ("the local 192.168.1.10 and version 1.2.3.4567", "the local 192.168.1.10 and version 1.2.3.4567"),
        ("on 2024-03-15, in 1914-1918, for 1,200,000 people", "on 2024-03-15, in 1914-1918, for 1,200,000 people"),
        ("order 4539 1488 0343 6468 is no card", "order 4539 1488 0343 6468 is no card"),
        ("me @ home, a@b", "me @ home, a@b"),
    ],
)
def test_personal_data(text: str, made: str) -> None:
    assert replaced(text, FIND)[0] == made
    assert replaced(text, [])[0] == text


@given(st.integers(10**11, 10**17))
def test_luhn_finds_one_wrong_digit(number: int) -> None:
    digits = str(number)
    whole = next(f"{digits}{check}" for check in range(10) if luhn(f"{digits}{check}") or len(set(digits)) == 1)
    wrong = f"{(int(whole[0]) + 1) % 10}{whole[1:]}"
    assert len(set(digits)) == 1 or not luhn(wrong)


def test_checksums_and_shapes() -> None:
    assert iban("DE89 3704 0044 0532 0130 00")
    assert not iban("DE89 3704 0044 0532 0130 01")
    assert phone("01 42 68 53 00")
    assert not phone("2024-03-15 10")


def test_personal_data_may_drop_instead(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", ["Write to me@example.org.", "Nobody here."])
    report = run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps={"personal_data": {"action": "drop"}})
    assert texts(tmp_path / "out") == ["Nobody here."]
    assert dropped(report, "personal-data") == {"email": 1}


@given(st.text(alphabet="ab .\n", max_size=400), st.integers(10, 60))
def test_parts_are_the_text_and_short_enough(text: str, characters: int) -> None:
    made = list(parts(text, characters))
    assert all(len(part) <= characters for part in made)
    assert "".join("".join(made).split()) == "".join(text.split())


def test_long_documents_are_cut_at_paragraphs_and_stay_on_one_side(tmp_path: Path) -> None:
    long = "\n\n".join(stories(30))
    lines(tmp_path / "a.jsonl", [long, *stories(3, 9)])
    run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, steps={"split_long": {"characters": 8000}}, held_out=0.5)
    sides = [texts(tmp_path / "out", split) for split in ("train", "held-out")]
    cut = [[text for text in side if text in long] for side in sides]
    assert min(map(len, cut)) == 0
    assert "\n\n".join(cut[0] or cut[1]) == long
    assert min(map(len, cut[0] or cut[1])) > 5000


def test_held_out_is_a_share_by_hash(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", [f"{i} {text}" for i, text in enumerate(stories(400))])
    run(tmp_path, {"s": source(tmp_path / "a.jsonl")}, held_out=0.25)
    train, held = texts(tmp_path / "out"), texts(tmp_path / "out", "held-out")
    assert len(train) + len(held) == 400
    assert 70 <= len(held) <= 130
    lines(tmp_path / "b.jsonl", [*held[:10], *train[:10]])
    run(tmp_path, {"t": source(tmp_path / "b.jsonl")}, held_out=0.25, out="other")
    assert texts(tmp_path / "other", "held-out") == held[:10], "the same texts are held out whatever stands beside them"


def written(**tokens: tuple[int, str]) -> dict[str, dict[str, object]]:
    return {name: {"train": {"tokens": n}, "languages": {language: 1}} for name, (n, language) in tokens.items()}


def test_weights_become_epochs() -> None:
    held = {
        "a": Source("jsonl", "prose", [Path("x")], "none", epochs=2), "b": Source("jsonl", "prose", [Path("x")], "none"),
        "f": Source("jsonl", "prose", [Path("x")], "none"), "c": Source("jsonl", "code", [Path("x")], "none"),
    }  # fmt: skip
    counts = written(a=(100, "en"), b=(200, "en"), f=(50, "fr"), c=(500, "python"))
    assert epochs(CurateRecipe(held), counts) == {"a": 2, "b": 1, "f": 1, "c": 1}
    mixed = epochs(CurateRecipe(held, mix=Mix({"prose": 5, "prose/fr": 2, "code": 3}, tokens=1000)), counts)
    seen = {name: mixed[name] * counts[name]["train"]["tokens"] for name in mixed}  # type: ignore[index]
    assert seen["a"] + seen["b"] == pytest.approx(500)
    assert (seen["f"], seen["c"]) == (pytest.approx(200), pytest.approx(300))
    assert mixed["a"] == 2 * mixed["b"]
    with pytest.raises(DataError, match="neither code nor code/python, as source c is"):
        epochs(CurateRecipe(held, mix=Mix({"prose": 1})), counts)
    with pytest.raises(DataError, match=r"mix\.weights\.web fits no source"):
        epochs(CurateRecipe(held, mix=Mix({"prose": 1, "code": 1, "web": 1})), counts)


def test_steps_keep_to_their_kinds_languages_and_sources(tmp_path: Path) -> None:
    dice = random.Random(4)
    lines(tmp_path / "p.jsonl", [*stories(4), *(histoire(dice) for _ in range(4))])
    lines(tmp_path / "c.jsonl", [program(dice) for _ in range(4)])
    french = ["le", "la", "de", "et", "un", "une", "que"]
    steps = {
        "language": {"keep": ["en", "fr"]},
        "quality": {"en": {"languages": ["en"], "gopher": {}}, "fr": {"languages": ["fr"], "gopher": {"stop_words": french}}},
        "code": {"licences": ["MIT"]},
    }
    sources = {
        "p": source(tmp_path / "p.jsonl"),
        "c": source(tmp_path / "c.jsonl", kind="code", licence="MIT", language="python"),
    }
    report = run(tmp_path, sources, steps=steps)
    assert len(texts(tmp_path / "out")) == 12, [(step["step"], step["dropped"]) for step in report["steps"]]
    assert report["sources"]["p"]["languages"].keys() == {"en", "fr"}
    steps["code"] = {"licences": ["Apache-2.0"]}
    report = run(tmp_path, sources, steps=steps, out="other")
    assert dropped(report, "code") == {"licence": 4}
    assert json.loads((tmp_path / "other/manifest.json").read_text())["sources"]["c"]["train"]["documents"] == 0
