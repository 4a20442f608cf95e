"""A tokenizer of one's own in v3's layout: control tokens at 3 to 770, bytes at 771 to 1026, then what BPE finds in the texts."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.tokenizer_json import write_tokenizer_json
from mistral7b.data.documents import Documents
from mistral7b.errors import DataError
from mistral7b.tokens.tokenizer import Tokenizer

TOKENIZER_FILE = "tokenizer.model.v3"
_FIRST_CONTROL, _FIRST_PIECE = 3, 1027
_BYTES_A_PIECE = 200  # of both files together, generously
_MEASURED = 1 << 18  # UTF-8 bytes of a held-out source that are encoded to see how well
Texts = Callable[[], Iterator[str]]


@dataclass(frozen=True, slots=True)
class JsonTexts:
    """`characters` of the .json and .jsonl files under `folder`: each item as compact JSON, then its strings by themselves,
    the two forms in which a model meets instructions and tool schemas."""

    folder: Path
    characters: int


@dataclass(frozen=True, slots=True)
class TokenizerRecipe:
    """`sources`: how many characters of each source of the `documents` to learn from, drawn by `seed`; a number larger than
    a source takes all of it. Lines are cut to `max_sentence_length` bytes. The other fields are SentencePiece's own."""

    documents: Path
    sources: dict[str, int]
    vocab_size: int
    json_texts: tuple[JsonTexts, ...] = ()
    max_sentence_length: int = 4192
    split_digits: bool = True
    character_coverage: float = 0.9999
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.vocab_size <= _FIRST_PIECE:
            raise ValueError(f"vocab_size must be above {_FIRST_PIECE:,}, the ids that control tokens and bytes take")
        if not self.sources and not self.json_texts:
            raise ValueError("it names no sources to learn from")
        if any(characters < 1 for characters in (*self.sources.values(), *(each.characters for each in self.json_texts))):
            raise ValueError("the characters to take of a source must be 1 or more; leave out a source that is not wanted")
        if self.max_sentence_length < 4 or self.threads < 1:
            raise ValueError("max_sentence_length must be at least 4 bytes, and threads at least 1")
        if not 0.9 <= self.character_coverage <= 1:
            raise ValueError("character_coverage must be from 0.9 to 1, such as 0.9995")


@dataclass(frozen=True, slots=True)
class Trained:
    """The file that was made, the characters it was learned from, and held-out UTF-8 bytes a token of each source."""

    path: Path
    vocab_size: int
    characters: int
    bytes_per_token: dict[str, float]


def train_tokenizer(recipe: TokenizerRecipe, out: Path, *, force: bool = False) -> Trained:
    """Trains SentencePiece's BPE on the recipe's texts and writes tokenizer.model.v3, and tokenizer.json for transformers, into
    the new folder `out`. The same recipe and documents give the same bytes.

    Every text encodes and comes back as it was, but for U+2581, which comes back as a space (see `Tokenizer`).
    Raises DataError for a source that is not there, has no text, or is too small for the vocabulary, and for a JSON file that
    is none; CheckpointError if `out` is there already (`force` replaces a folder of nothing but a tokenizer).
    """
    documents = Documents.open(recipe.documents)
    if strangers := sorted(recipe.sources.keys() - documents.sources.keys()):
        raise DataError(f"{documents.folder} has no source {strangers[0]!r}, only {', '.join(documents.sources)}")
    wanted: list[tuple[str, Texts, int]] = [
        (name, lambda name=name: documents.texts("train", name), n)  # type: ignore[misc]
        for name, n in recipe.sources.items()
    ]
    wanted += [
        (str(each.folder), lambda each=each: json_texts(each.folder), each.characters)  # type: ignore[misc]
        for each in recipe.json_texts
    ]
    counted = 0

    def sentences() -> Iterator[str]:
        nonlocal counted
        for name, texts, characters in wanted:
            for text in drawn(name, texts, characters, recipe.seed):
                counted += len(text)
                yield from lines(text, recipe.max_sentence_length)

    with aside(out, needs=_BYTES_A_PIECE * recipe.vocab_size, folder=True, force=force) as made:
        (made / TOKENIZER_FILE).write_bytes(_trained(recipe, sentences()))
        Tokenizer.load(made / TOKENIZER_FILE)
        write_tokenizer_json(made / TOKENIZER_FILE, made)
    tokenizer = Tokenizer.load(out / TOKENIZER_FILE)
    measured = {name: _bytes_per_token(tokenizer, documents, name) for name in recipe.sources}
    return Trained(tokenizer.path, tokenizer.vocab_size, counted, {name: n for name, n in measured.items() if n})


def drawn(name: str, texts: Texts, characters: int, seed: int) -> Iterator[str]:
    """About `characters` of `texts`, whole texts chosen by a hash of seed and text, so from all over. Read twice.

    Raises DataError if there is no text."""
    total = sum(map(len, texts()))
    if not total:
        raise DataError(f"{name} has no text to learn a tokenizer from; leave it out of the recipe")
    least = int(min(1.0, characters / total) * 2**64)
    for text in texts():
        digest = hashlib.blake2b(f"{seed}\0".encode() + text.encode(errors="replace"), digest_size=8).digest()
        if int.from_bytes(digest, "little") < least:
            yield text


def lines(text: str, n_bytes: int) -> Iterator[str]:
    """The lines of `text` that are not empty, longer ones cut to at most `n_bytes` of UTF-8; SentencePiece would drop them."""
    for line in text.split("\n"):
        raw = line.encode(errors="replace")
        while raw:
            piece = raw[:n_bytes].decode(errors="ignore")
            yield piece
            raw = raw[len(piece.encode()) :]


def json_texts(folder: Path) -> Iterator[str]:
    """Each item of the .json and .jsonl files under `folder` as compact JSON, then its strings. Raises DataError."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".jsonl"))
    if not paths:
        raise DataError(f"{folder} holds no .json or .jsonl file")
    for path in paths:
        try:
            raw = path.read_text(encoding="utf-8")
            found = (
                [json.loads(line) for line in raw.splitlines() if line.strip()] if path.suffix == ".jsonl" else json.loads(raw)
            )
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path} cannot be read as JSON: {error}") from None
        for item in found if isinstance(found, list) else [found]:
            yield json.dumps(item, ensure_ascii=False)
            yield from _strings(item)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _strings(child)


def _trained(recipe: TokenizerRecipe, sentences: Iterator[str]) -> bytes:
    """The model file. Written to memory, since SentencePiece keeps the name of its file inside it."""
    import sentencepiece

    v3, made = Tokenizer.published("v3"), io.BytesIO()
    try:
        sentencepiece.set_random_generator_seed(recipe.seed)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences, model_writer=made, model_type="bpe", vocab_size=recipe.vocab_size,
            control_symbols=[v3.piece(id) for id in range(_FIRST_CONTROL, 771)], byte_fallback=True,
            unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
            normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True,
            split_digits=recipe.split_digits, character_coverage=recipe.character_coverage,
            max_sentence_length=recipe.max_sentence_length, num_threads=recipe.threads, minloglevel=2,
        )  # fmt: skip
    except (RuntimeError, OSError) as error:  # "INTERNAL: src/trainer_interface.cc(661) [(...)] Vocabulary size too high (...)"
        why = " ".join(str(error).rpartition("]")[2].split()) or str(error)
        raise DataError(f"the tokenizer cannot be trained: {why} Give more text, or another vocab_size") from None
    return made.getvalue()


def _bytes_per_token(tokenizer: Tokenizer, documents: Documents, source: str) -> float:
    """Over the first held-out texts; 0 without any."""
    n_bytes = n_tokens = 0
    for text in documents.texts("held-out", source):
        n_bytes += len(text.encode())
        n_tokens += len(tokenizer.encode(text))
        if n_bytes >= _MEASURED:
            break
    return n_bytes / n_tokens if n_tokens else 0.0
