"""Train the tokenizer of `tiny`: SentencePiece BPE, 8,192 pieces in v3's layout (control 3-770, bytes 771-1026).

    python recipes/tiny/train_tokenizer.py --data DATA --out src/mistral7b/models/tiny

DATA holds corpus/*.jsonl.gz and instruct/**; instructions and tool schemas are included so that JSON and tool calls do
not shatter into bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import sentencepiece as spm
from corpus import EPOCHS, documents

from mistral7b.tokens.tokenizer import Tokenizer

VOCAB_SIZE = 8192
CHARACTERS = {"tinystories_excerpt": 2_500_000, "storybooks_ccby": 1_300_000, "gutenberg_children": 3_000_000}
JSON_CHARACTERS = 1_500_000


def strings(value: object) -> Iterator[str]:
    """Every string of a JSON value that reads like prose or a name."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings(child)


def instruct_texts(folder: Path) -> Iterator[str]:
    """Instruction files as prose and as compact JSON, the two forms in which the model will meet them."""
    for path in sorted(folder.rglob("*.json*")):
        text = path.read_text(encoding="utf-8")
        items = [json.loads(line) for line in text.splitlines() if line.strip()] if path.suffix == ".jsonl" else json.loads(text)
        for item in items if isinstance(items, list) else [items]:
            yield json.dumps(item, ensure_ascii=False)
            yield from strings(item)


def sample(texts: Iterator[str], characters: int) -> Iterator[str]:
    """Lines of at most 4,000 characters until `characters` have passed."""
    for text in texts:
        for line in text.split("\n"):
            if line:
                yield line[:4000]
                characters -= len(line)
        if characters <= 0:
            return


def sentences(data: Path) -> Iterator[str]:
    for source in EPOCHS:
        if source in CHARACTERS:
            yield from sample(documents(data / "corpus", source, want_held_out=False), CHARACTERS[source])
    yield from sample(instruct_texts(data / "instruct"), JSON_CHARACTERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    v3 = Tokenizer.published("v3")
    controls = [v3.piece(i) for i in range(3, 771)]
    args.out.mkdir(parents=True, exist_ok=True)
    prefix = args.out / "tokenizer"
    spm.SentencePieceTrainer.train(
        sentence_iterator=sentences(args.data),
        model_prefix=str(prefix),
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        control_symbols=controls,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        character_coverage=0.9999,
        num_threads=1,
    )  # fmt: skip
    prefix.with_suffix(".model").rename(args.out / "tokenizer.model.v3")
    prefix.with_suffix(".vocab").unlink()


if __name__ == "__main__":
    main()
