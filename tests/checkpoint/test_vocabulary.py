"""A vocabulary extended from v1's to v3's: a text has the logits it had, and only what can be extended is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mistral7b.checkpoint.convert import convert
from mistral7b.checkpoint.folder import open_checkpoint, open_source
from mistral7b.checkpoint.vocabulary import ADDED, FIRST, NEW, OLD, extend_vocabulary
from mistral7b.errors import CheckpointError, MismatchError, TokenizerError
from mistral7b.loading import load
from mistral7b.model.batch import Span, TokenBatch
from mistral7b.quantize.recipe import Recipe
from mistral7b.quantize.run import quantize
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import V01, V02, V03
from tests.checkpoint import made

CONFIG = replace(made.SMALL, vocab_size=OLD)
TEXT = 'Le prix est de 42 €, said "Zoë"; ¿de verdad? 日本語\n\tif x <= 3: return </s>'
Written = Callable[[Path, made.Weights, Any], Path]


@pytest.fixture(scope="module")
def weights() -> made.Weights:
    return made.weights(CONFIG, torch.float32)


@pytest.fixture
def old(tmp_path: Path, weights: made.Weights) -> Path:
    folder = tmp_path / "old"
    folder.mkdir()
    made.consolidated(folder, weights, CONFIG)
    shutil.copyfile(Tokenizer.published("v1").path, folder / "tokenizer.model")
    (folder / "chat_template.jinja").write_text("of v1")
    (folder / "README.md").write_text("card")
    return folder


@pytest.mark.parametrize("to", [None, "hf"])
def test_a_text_encoded_by_v3_has_the_logits_it_had(tmp_path: Path, old: Path, to: Any) -> None:
    files = extend_vocabulary(old, tmp_path / "new", to=to)
    names = {file.name for file in files}
    assert {"tokenizer.model.v3", "README.md", "model.safetensors" if to else "consolidated.safetensors"} <= names
    assert not names & {"tokenizer.model", "chat_template.jinja"}, "what v1's ids were for"
    before, after = load(old, kernels="torch"), load(tmp_path / "new", kernels="torch")
    assert before.tokenizer is not None
    assert after.tokenizer is not None
    assert (after.tokenizer.version, after.tokenizer.vocab_size, after.checkpoint.config.vocab_size) == ("v3", NEW, NEW)
    ids, moved = (opened.tokenizer.encode(TEXT, bos=True) for opened in (before, after) if opened.tokenizer)
    assert moved == [id + ADDED if id >= FIRST else id for id in ids]
    theirs, ours = (
        opened.model(TokenBatch.pack([Span(tokens, logits="all")])) for opened, tokens in ((before, ids), (after, moved))
    )
    assert torch.equal(ours[:, :FIRST], theirs[:, :FIRST])
    assert torch.equal(ours[:, FIRST + ADDED :], theirs[:, FIRST:])
    pieces = theirs[:, FIRST:]
    torch.testing.assert_close(ours[:, FIRST : FIRST + ADDED], pieces.mean(1, keepdim=True).expand(-1, ADDED))


def test_the_new_rows_are_the_mean_of_the_pieces(tmp_path: Path, old: Path, weights: made.Weights) -> None:
    extend_vocabulary(old, tmp_path / "new", dtype="bf16")
    with open_source(open_checkpoint(tmp_path / "new")) as source:
        for name in ("tok_embeddings.weight", "output.weight"):
            row, mean = source.get(name)[FIRST + 5], weights[name][FIRST:].double().mean(0)
            torch.testing.assert_close(row.double(), mean, atol=1e-4, rtol=0.01)
        assert torch.equal(source.get("norm.weight"), weights["norm.weight"].bfloat16())


@pytest.mark.parametrize(("config", "named"), [(V01, None), (V02, "v0.3")])
def test_an_extended_7b_is_taken_for_what_it_is(
    tmp_path: Path, config: Any, named: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """v0.1 with 32,768 ids is no published model, and is refused unless it says that it was extended."""
    monkeypatch.setattr("mistral7b.checkpoint.folder._source", lambda *_, **__: _Headers(V03))
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "consolidated.safetensors").touch()
    made.write_params(folder, replace(config, vocab_size=NEW))
    if named is None:
        with pytest.raises(MismatchError, match="but for vocab_size 32,768"):
            open_checkpoint(folder)
        (folder / "mistral7b.json").write_text(json.dumps({"extended_from": OLD}))
    opened = open_checkpoint(folder)
    assert opened.config == replace(config, vocab_size=NEW)
    assert (opened.variant.name if opened.variant else None) == named
    assert opened.extended_from == (None if named else OLD)


class _Headers:
    def __init__(self, config: Any) -> None:
        self.shapes = made.expected_shapes(config)

    def names(self) -> list[str]:
        return list(self.shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def __enter__(self) -> _Headers:
        return self

    def __exit__(self, *_: object) -> None: ...


def test_that_it_was_extended_is_kept(tmp_path: Path, old: Path) -> None:
    extend_vocabulary(old, tmp_path / "new")
    convert(tmp_path / "new", tmp_path / "hf", to="hf")
    for name in ("new", "hf"):
        assert open_checkpoint(tmp_path / name).extended_from == OLD


def test_what_is_not_extended(tmp_path: Path, old: Path) -> None:
    target = tmp_path / "new"
    with pytest.raises(CheckpointError, match="into a folder"):
        extend_vocabulary(old, target.with_suffix(".gguf"), to="gguf")
    with pytest.raises(CheckpointError, match="is or holds the model"):
        extend_vocabulary(old, old)
    extend_vocabulary(old, target)
    with pytest.raises(CheckpointError, match="has 32,768 ids; only the 32,000"):
        extend_vocabulary(target, tmp_path / "again")
    quantize(old, tmp_path / "int4", Recipe())
    with pytest.raises(CheckpointError, match="quantise"):
        extend_vocabulary(tmp_path / "int4", tmp_path / "again")
    shutil.copyfile(Tokenizer.published("v3").path, old / "tokenizer.model")
    with pytest.raises(TokenizerError, match="is not the v1 tokenizer"):
        extend_vocabulary(old, tmp_path / "again", force=True)
    (old / "tokenizer.model").unlink()
    assert (tmp_path / "again") not in tmp_path.iterdir()
    extend_vocabulary(old, tmp_path / "again")
