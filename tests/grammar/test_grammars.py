"""Regexes, choices and grammars: the text the user gets is the grammar's, to the first space."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import RequestError
from mistral7b.grammar.grammars import Grammars
from mistral7b.tokens.structured import StructuredOutput
from mistral7b.tokens.tokenizer import Tokenizer
from tests.grammar.walks import text_of, walk

CHOICES = ["a", "ab", " a", "  x", "▁y", 'é\n"\\q', "yes no", "日本", "\x01"]


@pytest.fixture(scope="session", params=["tiny", "v1", "v3"])
def any_tokenizer(request: pytest.FixtureRequest, tiny: Tokenizer) -> tuple[Tokenizer, Grammars]:
    tokenizer = tiny if request.param == "tiny" else Tokenizer.published(request.param)
    return tokenizer, Grammars(tokenizer)


@pytest.mark.parametrize("reply", [True, False])
def test_a_choice_is_given_to_the_letter(any_tokenizer: tuple[Tokenizer, Grammars], reply: bool) -> None:
    tokenizer, grammars = any_tokenizer
    context = [] if reply else tokenizer.encode("Once")
    for choice in CHOICES:
        spec = StructuredOutput("choice", [choice])
        ids = walk(grammars.constraint(spec, reply=reply), tokenizer, seed=0)
        assert ids[-1] == tokenizer.eos_id
        assert text_of(tokenizer, ids, context) == choice
    texts = {
        text_of(tokenizer, walk(grammars.constraint(StructuredOutput("choice", CHOICES), reply=reply), tokenizer, seed), context)
        for seed in range(40)
    }
    assert len(texts) > 3
    assert texts <= set(CHOICES)


@pytest.mark.parametrize("reply", [True, False])
@pytest.mark.parametrize("pattern", ["a{0,3}", " ?b{2}", " {2}c", "[0-9]{3}-(x|yz)", "(?i)ok[.!]?", "é{1,2}\\n?"])
def test_a_regex_matches_the_whole_text(tiny: Tokenizer, grammars: Grammars, pattern: str, reply: bool) -> None:
    context = [] if reply else tiny.encode("Once")
    for seed in range(15):
        ids = walk(grammars.constraint(StructuredOutput("regex", pattern), reply=reply), tiny, seed)
        assert ids[-1] == tiny.eos_id
        assert re.fullmatch(pattern, text_of(tiny, ids, context))


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4), st.integers(0, 9), st.booleans())
def test_any_choice_of_any_text(tiny: Tokenizer, grammars: Grammars, choices: list[str], seed: int, reply: bool) -> None:
    context = [] if reply else tiny.encode("Once")
    ids = walk(grammars.constraint(StructuredOutput("choice", choices), reply=reply), tiny, seed)
    assert text_of(tiny, ids, context) in choices


def test_a_forced_text_is_spelled_as_the_tokenizer_spells_it(tiny: Tokenizer, grammars: Grammars) -> None:
    text = "The weather in Paris is fine."
    ids = [*tiny.encode(text), tiny.eos_id]
    assert grammars.constraint(StructuredOutput("choice", [text])).forced() == ids
    continued = grammars.constraint(StructuredOutput("choice", [f" {text}"]), reply=False)
    assert continued.forced() == ids


def test_a_text_that_may_be_empty_may_end_at_once(tiny: Tokenizer, grammars: Grammars) -> None:
    for reply in (True, False):
        assert grammars.constraint(StructuredOutput("regex", "a*"), reply=reply).mask()[tiny.eos_id]
        assert not grammars.constraint(StructuredOutput("regex", "a+"), reply=reply).mask()[tiny.eos_id]


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        ('start: "a" B+ "c"\nB: /[0-9]/ "b"', "a([0-9]b)+c"),
        ('%ignore / /\nstart: "a" "b"', "a *b"),
        ('root ::= item ("," item)*\nitem ::= [a-z]{1,3} | "q" ws "!"\nws ::= " "?', "([a-z]{1,3}|q ?!)(,([a-z]{1,3}|q ?!))*"),
        ('// %json nothing\nstart: "%json " %json {"enum": [1, {"a": 2}]}', '%json (1|{"a":2})'),
    ],
)
def test_lark_and_gbnf(tiny: Tokenizer, grammars: Grammars, grammar: str, pattern: str) -> None:
    for seed in range(10):
        ids = walk(grammars.constraint(StructuredOutput("grammar", grammar)), tiny, seed)
        if ids[-1] == tiny.eos_id:
            assert re.fullmatch(pattern, text_of(tiny, ids))


def test_what_may_not_come_is_refused_and_changes_nothing(tiny: Tokenizer, grammars: Grammars) -> None:
    constraint = grammars.constraint(StructuredOutput("choice", ["yes", "no"]))
    before = constraint.mask().copy()
    for id in (tiny.eos_id, tiny.bos_id, tiny.unk_id, -1, tiny.vocab_size, *tiny.encode("maybe")[:1]):
        with pytest.raises(ValueError, match="may not come"):
            constraint.advance(id)
    assert np.array_equal(constraint.mask(), before)
    assert before.dtype == np.bool_
    assert before.shape == (tiny.vocab_size,)


def test_only_the_end_follows_the_end(tiny: Tokenizer, grammars: Grammars) -> None:
    constraint = grammars.constraint(StructuredOutput("choice", ["yes"]))
    for id in constraint.forced()[:-1]:
        constraint.advance(id)
    assert not constraint.done
    for _ in range(2):
        assert constraint.forced() == np.flatnonzero(constraint.mask()).tolist() == [tiny.eos_id]
        constraint.advance(tiny.eos_id)
        assert constraint.done


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("regex", "(", "unclosed"),
        ("regex", "(a{1000}){1000}", "8,192"),
        ("regex", "a{3}{4000}", "8,192"),
        ("regex", "x|(?:ab|c{9}){5000}", "8,192"),
        ("grammar", "no rule", "1("),
        ("grammar", "start: missing", "missing"),
        ("grammar", "root ::= [", "GBNF"),
        ("grammar", "root ::= " + "(" * 5000, "GBNF"),
        ("grammar", 'start: %json {"not": {}}', "'not' at #"),
        ("grammar", "start: %json [", "%json"),
        ("grammar", 'start: "::=" %json {"uniqueItems": true}', "'uniqueItems' at #"),
        ("grammar", "start: A{100}\nA: B{100}\nB: /a{10}/", "8,192"),
        ("grammar", "".join(f"A{n}: A{n + 1} A{n + 1}\n" for n in range(40)) + 'A40: "a"\nstart: A0', "8,192"),
        ("grammar", "start: start", "no text fits"),
        ("choice", ["x" * 70_000], "65,536"),
    ],
)
def test_a_hostile_or_broken_grammar_is_one_line_and_soon(grammars: Grammars, kind: str, value: str, said: str) -> None:
    began = time.perf_counter()
    with pytest.raises(RequestError) as raised:
        grammars.constraint(StructuredOutput(kind, value))  # type: ignore[arg-type]
    assert time.perf_counter() - began < 2
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_grammar_that_grows_too_complex_says_so(grammars: Grammars) -> None:
    constraint = grammars.constraint(StructuredOutput("regex", "(\\w{1,300}\\s?){1,300}"))

    def go_on() -> None:
        for _ in range(1000):
            constraint.advance(int(np.flatnonzero(constraint.mask())[-1]))

    with pytest.raises(RequestError, match="structured output: "):
        go_on()


def test_grammars_are_kept_within_bounds_and_start_afresh(tiny: Tokenizer) -> None:
    grammars = Grammars(tiny, kept=2)
    for _ in range(2):
        for text in ("one", "two", "three"):
            ids = walk(grammars.constraint(StructuredOutput("choice", [text])), tiny, seed=0)
            assert text_of(tiny, ids) == text
    assert len(grammars._compiled) == 2


def test_any_thread_may_ask(tiny: Tokenizer) -> None:
    grammars = Grammars(tiny, kept=3)
    texts: list[str] = []

    def ask(name: int) -> None:
        for number in range(20):
            choice = f"text {(name + number) % 6}"
            constraint = grammars.constraint(StructuredOutput("choice", [choice]))
            texts.append(f"{choice}={text_of(tiny, walk(constraint, tiny, seed=0))}")

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts) == 80
    assert all(text.split("=")[0] == text.split("=")[1] for text in texts)


def test_the_beginning_s_rules_end_with_it(tiny: Tokenizer, grammars: Grammars) -> None:
    (space,) = (id for id in range(tiny.vocab_size) if tiny.is_byte(id) and tiny.piece_bytes(id) == b" ")
    optional = grammars.constraint(StructuredOutput("regex", "(a[ b])?"))
    assert optional.mask()[tiny.eos_id]
    assert not optional.mask()[space]
    for id in tiny.encode("a"):
        optional.advance(id)
    assert not optional.mask()[tiny.eos_id]
    assert optional.mask()[space]
