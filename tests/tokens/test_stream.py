"""Streaming equals decoding, whatever the ids and wherever they are cut."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.errors import TokenizerError
from mistral7b.tokens.spm_file import SPACE
from mistral7b.tokens.stream import Detokenizer
from mistral7b.tokens.tokenizer import Tokenizer
from tests.tokens.test_tokenizer import TEXTS


def streamed(tokenizer: Tokenizer, ids: list[int], prompt_ids: list[int] | None = None) -> str:
    stream = Detokenizer(tokenizer, prompt_ids=prompt_ids or [])
    return "".join([stream.push(id) for id in ids]) + stream.finish()


@cache
def id_lists(tokenizer: Tokenizer, control: bool = True) -> st.SearchStrategy[list[int]]:
    """Any ids, with bytes, control ids and spaces far more frequent than chance would have them."""
    by_kind: dict[str, list[int]] = {"byte": [], "control": [], "space": [], "word": []}
    for id in range(tokenizer.vocab_size):
        kind = "byte" if tokenizer.is_byte(id) else "control" if tokenizer.is_control(id) else "word"
        by_kind["space" if tokenizer.piece(id).strip(SPACE) == "" else kind].append(id)
    if not control:
        del by_kind["control"]
    first_byte = by_kind["byte"][0]
    characters = [[first_byte + byte for byte in text.encode()] for text in ("é", "€", "😀")]
    one = st.one_of([st.sampled_from(ids) for ids in by_kind.values()]).map(lambda id: [id])
    parts = st.lists(one | st.sampled_from(characters) | st.sampled_from([part[:-1] for part in characters]), max_size=12)
    return parts.map(lambda lists: [id for ids in lists for id in ids])


@given(data=st.data())
def test_any_ids_stream_to_what_they_decode_to(every: list[Tokenizer], data: st.DataObject) -> None:
    for tokenizer in every:
        ids = data.draw(id_lists(tokenizer))
        assert streamed(tokenizer, ids) == tokenizer.decode(ids)


@given(text=TEXTS)
def test_any_text_streams_back_and_never_breaks_a_character(every: list[Tokenizer], text: str) -> None:
    text = text.replace(SPACE, " ").replace("\ufffd", "?")
    for tokenizer in every:
        stream = Detokenizer(tokenizer)
        parts = [stream.push(id) for id in tokenizer.encode(text)]
        assert "".join(parts) == text
        assert stream.finish() == ""
        assert not any("\ufffd" in part for part in parts)


# For every beginning of a character, at least one of these makes it whole (E0, ED, F0 and F4 allow few second bytes).
SECOND = (b"\x80", b"\x90", b"\xbf")
COMPLETIONS = [first + rest for first in SECOND for rest in (b"", b"\x80", b"\x80\x80")]


def decoded_without_broken_end(tokenizer: Tokenizer, ids: list[int]) -> str:
    """`decode` of the ids before those bytes at the end that could still become a character; found by trying."""
    for held in (3, 2, 1):
        tail = ids[-held:]
        if len(tail) == held and all(tokenizer.is_byte(id) for id in tail):
            data = b"".join(tokenizer.piece_bytes(id) for id in tail)
            if any(_completes(data + more) for more in COMPLETIONS):
                return tokenizer.decode(ids[:-held])
    return tokenizer.decode(ids)


def _completes(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


@given(data=st.data())
def test_a_completion_continues_its_prompt(every: list[Tokenizer], data: st.DataObject) -> None:
    for tokenizer in every:
        kinds = id_lists(tokenizer), id_lists(tokenizer, control=False), id_lists(tokenizer)
        before, tail, ids = [data.draw(kind) for kind in kinds]
        prompt = [*before, tokenizer.eos_id, *tail]
        expected = tokenizer.decode(tail + ids)
        assert decoded_without_broken_end(tokenizer, tail) + streamed(tokenizer, ids, prompt) == expected


@given(text=TEXTS, cut=st.integers(0, 200))
def test_a_text_cut_anywhere_between_tokens(every: list[Tokenizer], text: str, cut: int) -> None:
    for tokenizer in every:
        ids = tokenizer.encode(text, bos=True)
        cut = min(cut, len(ids))
        joined = decoded_without_broken_end(tokenizer, ids[:cut]) + streamed(tokenizer, ids[cut:], ids[:cut])
        assert joined == text.replace(SPACE, " ")


def test_spaces_of_completions_and_replies(v1: Tokenizer, v3: Tokenizer) -> None:
    for tokenizer in (v1, v3):
        once, time = tokenizer.encode("Once upon", bos=True), tokenizer.encode("a time")
        assert streamed(tokenizer, time, once) == " a time"
        assert streamed(tokenizer, time) == "a time"
        assert streamed(tokenizer, time, [tokenizer.bos_id]) == "a time"
    assert streamed(v3, v3.encode("Hi there!"), [1, 3, 23325, 4]) == "Hi there!"
    assert streamed(v3, v3.encode(" two"), [4]) == " two"


def test_a_character_comes_out_with_its_last_byte(v3: Tokenizer) -> None:
    stream = Detokenizer(v3)
    assert [stream.push(771 + byte) for byte in "😀".encode()] == ["", "", "", "😀"]
    assert stream.push(771 + 0xE2) == ""
    assert stream.push(771 + 0x82) == ""
    assert stream.finish() == "\ufffd\ufffd"


def test_a_prompt_may_end_inside_a_character(v3: Tokenizer) -> None:
    euro = [771 + byte for byte in "€".encode()]
    assert streamed(v3, euro[2:], [1, 23325, *euro[:2]]) == "€"
    assert streamed(v3, euro[1:], [1, *euro[:1]]) == "€"
    last_of_all = [771 + byte for byte in "\U00100000".encode()]
    assert streamed(v3, last_of_all[3:], [1, *last_of_all[:3]]) == "\U00100000"
    assert streamed(v3, euro[2:], [1, *euro[:2], 4]) == "\ufffd"


def test_an_unknown_id_is_refused(v3: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="outside the vocabulary"):
        Detokenizer(v3).push(32768)
