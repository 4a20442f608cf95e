"""The tokenizer inside a GGUF file: recognised as a published one, or written out again as a SentencePiece file."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.gguf_header import GgufHeader
from mistral7b.checkpoint.spm import BYTE, CONTROL, NORMAL, Piece, SpmModel, encode
from mistral7b.errors import TokenizerError
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TokenizerVersion

# sha256 of every published text piece with its score, in order: the same in v1 and v3, which put them at different ids.
_PUBLISHED_PIECES = "cd8be87f98a740d52e5e9973dd352fd0943c7c552e94b0ac2aacea917644e080"
_PUBLISHED_AT: dict[int, TokenizerVersion] = {259: "v1", 1027: "v3"}  # the id of the first text piece (FACTS 3.2)


def find_tokenizer(header: GgufHeader) -> tuple[Path | None, list[str]]:
    """(A tokenizer file that encodes as the GGUF's own would, notes); None where the file carries no tokenizer.

    A published tokenizer is taken from mistral-common. Any other is written once into the user's cache folder, under a
    name that its contents give it. Raises TokenizerError for a tokenizer that is malformed or not SentencePiece.
    """
    kind = header.fields.get("tokenizer.ggml.model")
    if kind in (None, "no_vocab", "none"):
        return None, ["no tokenizer in the file: give token ids, or put it into a folder with its tokenizer.model"]
    if kind != "llama":
        raise TokenizerError(f"the GGUF carries a {kind!r:.40} tokenizer; Mistral 7B uses SentencePiece, called 'llama' there")
    pieces = _pieces(header)
    if (version := _published(pieces)) is not None:
        return Tokenizer.published(version).path, [f"tokenizer: its pieces are those of the published {version}"]
    model = SpmModel(
        pieces,
        add_dummy_prefix=bool(header.fields.get("tokenizer.ggml.add_space_prefix", True)),
        remove_extra_whitespaces=bool(header.fields.get("tokenizer.ggml.remove_extra_whitespaces", False)),
    )
    v3 = len(pieces) > 3 and pieces[3].text == "[INST]" and pieces[3].type == CONTROL
    try:
        path = _cached(encode(model), "tokenizer.model.v3" if v3 else "tokenizer.model.v1")
    except OSError as error:
        return None, [f"its tokenizer cannot be kept ({error.strerror}): set XDG_CACHE_HOME to a folder you may write"]
    try:
        Tokenizer.load(path)
    except TokenizerError as error:
        path.unlink(missing_ok=True)
        raise TokenizerError(f"the tokenizer inside the GGUF file does not work: {error}") from None
    return path, [f"tokenizer: rebuilt from the file, kept as {path}"]


def text_digest(pieces: Sequence[Piece]) -> tuple[int, str]:
    """(Id of the first piece after the bytes, sha256 of all from there on): what makes two tokenizers encode alike.

    Control pieces stay out: converters rename them and give them scores of their own, and text never reaches them.
    """
    first = next((i + 1 for i in range(len(pieces) - 1, -1, -1) if pieces[i].type == BYTE), 0)
    digest = hashlib.sha256()
    for piece in pieces[first:]:
        digest.update(piece.text.encode() + b"\0" + struct.pack("<fB", piece.score, piece.type))
    return first, digest.hexdigest()


def _published(pieces: Sequence[Piece]) -> TokenizerVersion | None:
    first, digest = text_digest(pieces)
    return _PUBLISHED_AT.get(first) if digest == _PUBLISHED_PIECES else None


def _pieces(header: GgufHeader) -> tuple[Piece, ...]:
    columns: list[Any] = [header.fields.get(f"tokenizer.ggml.{key}") for key in ("tokens", "scores", "token_type")]
    tokens, scores, types = columns
    whole = (
        isinstance(tokens, list)
        and isinstance(scores, list)
        and isinstance(types, list)
        and len(tokens) == len(scores) == len(types)
        and all(isinstance(token, str) for token in tokens)
        and all(isinstance(score, float) and abs(score) < 1e38 for score in scores)
        and all(isinstance(kind, int) and NORMAL <= kind <= BYTE for kind in types)
    )
    if not whole:
        raise TokenizerError("the tokenizer in the GGUF file is damaged: it needs a text, a score and a type of 1 to 6 an id")
    return tuple(Piece(*row) for row in zip(tokens, scores, types, strict=True))


def _cached(raw: bytes, name: str) -> Path:
    """The file with exactly these bytes under the user's cache folder, written aside and renamed if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = cache / "mistral7b" / "tokenizers" / hashlib.sha256(raw).hexdigest()[:16] / name
    if not path.is_file() or path.read_bytes() != raw:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
            aside.write(raw)
            aside.flush()
            os.fsync(aside.fileno())
        os.replace(aside.name, path)
    return path
