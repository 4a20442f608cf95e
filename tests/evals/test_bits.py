"""Bits per byte: what is counted, once each, and what a naive reading of the definition gives."""

from __future__ import annotations

import gzip
import json
import math
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.config import ModelConfig
from mistral7b.errors import DataError, NumericError, RequestError
from mistral7b.evals import bits as module
from mistral7b.evals.bits import batches, bits_per_byte, pieces, read_documents
from mistral7b.kernels.torch_room import TorchKernels
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.model.transformer import Transformer
from mistral7b.tokens.tokenizer import Tokenizer

CONFIG = ModelConfig(
    dim=16, n_layers=2, head_dim=8, hidden_dim=24, n_heads=2, n_kv_heads=1, norm_eps=1e-5,
    vocab_size=8192, rope_theta=10_000.0, sliding_window=6,
)  # fmt: skip
TEXTS = ["Once upon a time there was a cat.", "", "é", "The dog sat. " * 20, "x"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(Path(str(files("mistral7b.models.tiny") / "tokenizer.model.v3")))


@pytest.fixture(scope="module")
def model() -> Transformer:
    made = Transformer(CONFIG, TorchKernels())
    generator = torch.Generator().manual_seed(1)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return made


@given(n_ids=st.integers(2, 300), context=st.integers(2, 50), data=st.data())
def test_every_token_is_counted_once_with_context_before_it(n_ids: int, context: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(1, context // 2))
    found = list(pieces(n_ids, context, overlap))
    assert [target for piece in found for target in range(piece.first + 1, piece.end + 1)] == list(range(1, n_ids))
    assert all(1 <= piece.end - piece.begin <= context for piece in found)
    assert all(piece.first - piece.begin >= overlap for piece in found[1:])
    assert found[0].begin == 0
    if n_ids - 1 <= context:
        assert len(found) == 1


def test_pieces_of_the_docstring() -> None:
    assert [(piece.begin, piece.end) for piece in pieces(10, 4, 2)] == [(0, 4), (2, 6), (4, 8), (5, 9)]


@pytest.mark.parametrize("context", [2, 7, 16, 500])
def test_it_is_the_definition_read_aloud(
    model: Transformer, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, context: int
) -> None:
    """One document and one piece at a time, in float64, whatever the batches."""
    expected, tokens = 0.0, 0
    for text in TEXTS:
        if not text:
            continue
        ids = [1, *tokenizer.encode(text), 2]
        tokens += len(ids) - 1
        for piece in pieces(len(ids), context, min(context // 2, 6)):
            with torch.no_grad():
                logits = model(TokenBatch.pack([Span(ids[piece.begin : piece.end], logits="all")]))
            for row in range(piece.first, piece.end):
                expected -= float(logits[row - piece.begin].double().log_softmax(-1)[ids[row + 1]]) / math.log(2)
    told: list[tuple[int, int]] = []
    for together in (1, 50, 10_000):
        monkeypatch.setattr(module, "_TOGETHER", together)
        monkeypatch.setattr(module, "_LOGIT_ROWS", 3 if together == 50 else 512)
        found = bits_per_byte(model, tokenizer, TEXTS, context, lambda *both: told.append(both))
        assert found.bits == pytest.approx(expected, rel=1e-5)
        assert (found.tokens, found.documents, found.context) == (tokens, 4, context)
        assert found.bytes == sum(len(text.encode()) for text in TEXTS)
        assert found.per_byte == found.bits / found.bytes
        assert told[-1] == (tokens, tokens)


def test_equal_probabilities_cost_the_logarithm_of_the_vocabulary(tokenizer: Tokenizer) -> None:
    flat = Transformer(CONFIG, TorchKernels())
    for weight in flat.parameters():
        torch.nn.init.zeros_(weight)
    found = bits_per_byte(flat, tokenizer, ["a cat"], 99)
    assert found.tokens == len(tokenizer.encode("a cat")) + 1, "its tokens and EOS"
    assert found.bits == pytest.approx(13 * found.tokens)


@given(sizes=st.lists(st.integers(2, 60), min_size=1, max_size=20), context=st.integers(2, 40))
def test_batches_hold_every_piece_in_order(sizes: list[int], context: int) -> None:
    documents = [[i] * n for i, n in enumerate(sizes)]
    found = [(ids[0], piece) for batch in batches(documents, context, 1) for ids, piece in batch]
    assert found == [(i, piece) for i, n in enumerate(sizes) for piece in pieces(n, context, 1)]


def test_what_is_refused(model: Transformer, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="no text to measure on"):
        bits_per_byte(model, tokenizer, ["", ""], 8)
    with pytest.raises(RequestError, match="a context of 1 tokens predicts nothing"):
        bits_per_byte(model, tokenizer, ["a"], 1)
    broken = Transformer(CONFIG, TorchKernels())
    for weight in broken.parameters():
        torch.nn.init.constant_(weight, math.nan)
    with pytest.raises(NumericError, match="not finite"):
        bits_per_byte(broken, tokenizer, ["a"], 8)


def test_files(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"text": text}) for text in ("one\ntwo", "", "é")) + "\n\n"
    made = {
        "a.jsonl": lines.encode(),
        "a.jsonl.gz": gzip.compress(lines.encode()),
        "a.txt": "one\ntwo é\n".encode(),
        "a.txt.gz": gzip.compress("one\ntwo é\n".encode()),
    }
    for name, raw in made.items():
        (tmp_path / name).write_bytes(raw)
        wanted = ["one\ntwo", "", "é"] if "jsonl" in name else ["one\ntwo é\n"]
        assert read_documents(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("a.txt", b"a\xff", "is not UTF-8 text: invalid start byte at byte 1"),
        ("a.txt.gz", b"a", "cannot be read: Not a gzipped file"),
        ("a.txt.gz", gzip.compress(b"abc" * 99, mtime=0)[:-9], "cannot be read: Compressed file ended"),
        ("a.jsonl", b'{"text": "a"}\n{', "line 2: not JSON"),
        ("a.jsonl.gz", b"{}", "cannot be read: Not a gzipped file"),
        ("a.jsonl", b'["a"]', 'line 1: not an object with a "text"'),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, raw: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(DataError, match=said):
        read_documents(tmp_path / name)
    with pytest.raises(DataError, match="No such file"):
        read_documents(tmp_path / "gone.txt")
