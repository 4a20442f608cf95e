"""Files read into samples: faults with file and line, texts cut into pieces, samples that are too long."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.data.instruct.check import check
from mistral7b.data.instruct.encoding import pieces
from mistral7b.data.instruct.samples import Samples
from mistral7b.errors import DataError
from mistral7b.tokens.dialogue import Sample, samples_of
from mistral7b.tokens.tokenizer import Tokenizer

V3 = Tokenizer.published("v3")
ASKED = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there!"}]


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records))
    return path


def test_text_and_messages(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"text": "Once upon a time"}, "", {"messages": ASKED, "id": 7})
    samples = Samples.read([path], V3, length=64)
    assert (len(samples), samples.ends) == (2, (2,))
    assert (samples.ids.dtype, samples.trained.dtype, samples.borders.dtype) == (np.int32, np.bool_, np.int64)
    text = samples.sample(0)
    assert text.ids == [V3.bos_id, *V3.encode("Once upon a time"), V3.eos_id]
    assert text.trained == [False] + [True] * (len(text.ids) - 1)
    assert [samples.sample(1)] == samples_of(V3, ASKED)
    with pytest.raises(IndexError):
        samples.sample(2)


def test_the_end_of_each_reply_is_learned_and_nothing_fills_up(tmp_path: Path) -> None:
    """PAINS 42: where a pad token is the EOS, masking pads masks the end of replies too, and the model never stops."""
    talk = [{"role": "user", "content": "a"}, *ASKED[1:], *ASKED]
    samples = Samples.read([lines(tmp_path / "a.jsonl", {"messages": talk}, {"messages": ASKED})], V3, length=64)
    ends = samples.ids == V3.eos_id
    assert ends.sum() == 3
    assert samples.trained[ends].all()
    assert len(samples.ids) == samples.borders[-1]


@pytest.mark.parametrize("pack", ["plain", "gz", "zst", "list"])
def test_files_packed_and_lists(tmp_path: Path, pack: str) -> None:
    raw = "".join(json.dumps({"text": text}) + "\n" for text in ("one", "two")).encode()
    path = tmp_path / {"plain": "a.jsonl", "gz": "a.jsonl.gz", "zst": "a.jsonl.zst", "list": "a.json"}[pack]
    listed = b'\xef\xbb\xbf [\n{"text": "one"} , {"text": "two"}]\r\n'
    path.write_bytes({"plain": raw, "gz": gzip.compress(raw), "zst": zstandard.compress(raw), "list": listed}[pack])
    samples = Samples.read([path], V3, length=64)
    assert [V3.decode(samples.sample(i).ids) for i in range(len(samples))] == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("7", "not an object but a int"),
        ({"x": 1}, "of no known layout, with the keys 'x'"),
        ({"text": ""}, "its text is empty"),
        ({"text": 5}, "text must be text"),
        ({"text": "\ud800"}, "lone surrogate"),
        ({"messages": []}, "there are no messages"),
        ({"messages": "a"}, "there are no messages"),
        ({"messages": [None]}, "message 1 must be an object"),
        ({"messages": ASKED[:1]}, "nothing of it is learned"),
        ({"messages": [ASKED[0], ASKED[1] | {"weight": 0}]}, "nothing of it is learned"),
        ({"messages": [ASKED[0], ASKED[1] | {"weight": 0.5}]}, "message 2 has weight 0.5; use 0 or 1"),
        ({"messages": [*ASKED, ASKED[1]]}, "messages 2 and 3 are both from the assistant"),
        ({"messages": [{"role": "narrator", "content": "a"}]}, "role 'narrator'"),
        ({"messages": [ASKED[0], {"role": "assistant", "content": None}]}, "neither content nor tool_calls"),
        ({"messages": ASKED, "tools": [5]}, "a tool must be an object"),
        ({"messages": ASKED, "tools": "x"}, "tools must be JSON"),
        ({"messages": ASKED, "services": ["Taxi"]}, "those of service 'Taxi'"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, line: Any, says: str) -> None:
    """PAINS 43, 47: a reply that is never learned, a broken line: refused, with the place."""
    path = lines(tmp_path / "it's: C;\\a.jsonl", {"text": "fine"}, line, {"text": "good"})
    with pytest.raises(DataError) as error:
        Samples.read([path], V3, length=64)
    assert str(error.value).startswith(f"{path}, line 2: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    for name, raw, says in (
        ("a.jsonl", b"", "holds no record"),
        ("a.json", b"[]", "holds no record"),
        ("a.jsonl.gz", b"{}", "damaged"),
        ("a.jsonl.gz", gzip.compress(b"{}" * 99)[:-9], "cut off"),
    ):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(DataError, match=says):
            Samples.read([tmp_path / name], V3, length=64)
    with pytest.raises(DataError, match="No such file"):
        Samples.read([tmp_path / "none.jsonl"], V3, length=64)
    with pytest.raises(DataError, match="nothing to learn"):
        Samples.read([lines(tmp_path / "b.jsonl", {"messages": ASKED})], V3, length=2, too_long="drop")


def test_a_broken_list_is_told_from_the_item_on(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text, says in (
        ('[{"text": "a"}, {"text": }]', "item 2: not JSON, near line 1"),
        ('[{"text": "a"}\n{"text": "b"}]', "item 1: no comma and no ] after it, near line 2"),
        ('[{"text": "a"}] x', "item 2: after the end"),
        ('[{"text": "a"},', "item 2: not JSON"),
        ('[{"text": "a"}, 5]', "item 2: not an object but a int"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=says.replace("]", "\\]")):
            Samples.read([path], V3, length=64)
        assert check([path], V3).samples == 1


def test_dialogues_that_are_too_long(tmp_path: Path) -> None:
    late = [{"role": "user", "content": "word " * 40}, ASKED[1]]
    early = [ASKED[0], {"role": "assistant", "content": "word " * 40}]
    path = lines(tmp_path / "a.jsonl", {"messages": ASKED}, {"messages": late}, {"messages": early})
    with pytest.raises(DataError, match=r"line 2: \d+ tokens, more than 32; cut or drop"):
        Samples.read([path], V3, length=32)
    dropped = Samples.read([path], V3, length=32, too_long="drop")
    assert (len(dropped), dropped.dropped, dropped.cut) == (1, 2, 0)
    cut = Samples.read([path], V3, length=32, too_long="cut")  # of the late reply nothing is left
    assert (len(cut), cut.dropped, cut.cut) == (2, 1, 1)
    whole = samples_of(V3, early)[0]
    assert cut.sample(1) == Sample(whole.ids[:32], whole.trained[:32])


@given(n=st.integers(1, 60), length=st.integers(2, 20))
def test_every_token_of_a_long_text_is_learned_once(n: int, length: int) -> None:
    whole = Sample(list(range(n)), [False] + [True] * (n - 1))
    cut = list(pieces(whole, length))
    assert all(len(piece.ids) <= length for piece in cut)
    learned = [id for piece in cut for id, mark in zip(piece.ids, piece.trained, strict=True) if mark]
    assert learned == whole.ids[1:]
    assert all(piece.ids[0] == learned[piece.ids[0] - 1] for piece in cut[1:])


def test_files_are_told_apart(tmp_path: Path) -> None:
    a, b = lines(tmp_path / "a.jsonl", {"text": "a"}, {"text": "b"}), lines(tmp_path / "b.jsonl", {"text": "c"})
    assert Samples.read([a, b], V3, length=8).ends == (2, 3)
    assert Samples.read([a], V3, length=8, on="all").ends == (2,)
