"""tokenizer.json: a SentencePiece file said again for transformers, so that both give the same ids.

Stands beside the other formats of a model folder because `tokens` knows only how to use a tokenizer, not how its file is
made. The schema is that of the `tokenizers` library (its BPE model); neither it nor transformers is needed to write one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import aside
from mistral7b.checkpoint.spm import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, SpmModel, decode
from mistral7b.errors import TokenizerError
from mistral7b.tokens.spm_file import SPACE, UNK_BOS_EOS

# transformers reads its switches from here: text that spells a control token stays text, and nothing is tidied when decoding.
_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "split_special_tokens": True,
    "clean_up_tokenization_spaces": False,
    "add_bos_token": True,
    "add_eos_token": False,
    "model_input_names": ["input_ids", "attention_mask"],
}


def write_tokenizer_json(model_file: Path, out: Path, *, force: bool = False) -> None:
    """Writes `out`/tokenizer.json and tokenizer_config.json, which give transformers the ids of the SentencePiece file.

    The ids are equal for every text, BOS before it by default. Control tokens are special tokens there: decoding leaves them
    out on request. By the config, text that spells one stays text, as in SentencePiece; the `tokenizers` library alone, which
    reads no config, wants `tokenizer.encode_special_tokens = True` for that. One exception: user-defined pieces, which
    SentencePiece does take from text ([REFERENCE_DOC_0] and the like in mistral-common's v3 file, not in that of the
    published v0.3), stay text here too. The same file gives the same bytes.
    Raises TokenizerError for a file that SentencePiece would read by rules which that library does not have, CheckpointError
    if one of the two is there already and not `force`, or cannot be written.
    """
    try:
        model = decode(model_file.read_bytes())
    except OSError as error:
        raise TokenizerError(f"{model_file} cannot be read: {error.strerror or error}") from None
    try:
        made = tokenizer_json(model)
    except TokenizerError as error:
        raise TokenizerError(f"{model_file}: {error}") from None
    texts = {
        "tokenizer.json": json.dumps(made, ensure_ascii=False, separators=(",", ":")),
        "tokenizer_config.json": json.dumps(_CONFIG, indent=2),
    }
    for name, text in texts.items():
        raw = (text + "\n").encode()
        with aside(out / name, needs=len(raw), folder=False, force=force) as path:
            path.write_bytes(raw)


def tokenizer_json(model: SpmModel) -> dict[str, Any]:
    """The object tokenizer.json holds. Raises TokenizerError for what it could not say."""
    bos = next((i for i, piece in enumerate(model.pieces) if piece.text == "<s>"), None)
    unknown = [i for i, piece in enumerate(model.pieces) if piece.type == UNKNOWN]
    strange = [piece.text for piece in model.pieces if piece.type not in (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE)]
    n_bytes = sum(piece.type == BYTE for piece in model.pieces)
    if (unknown, bos, n_bytes) != ([UNK_BOS_EOS[0]], UNK_BOS_EOS[1], 256):
        raise TokenizerError("<unk> and <s> must have the ids 0 and 1, and every byte a piece, as in every Mistral 7B tokenizer")
    if strange or model.remove_extra_whitespaces:
        why = f"an unused piece {strange[0]!r:.60}" if strange else "remove_extra_whitespaces"
        raise TokenizerError(f"it has {why}, which a tokenizer.json cannot say")
    vocab = {piece.text: i for i, piece in enumerate(model.pieces)}
    if len(vocab) != len(model.pieces):
        raise TokenizerError("two of its pieces have the same name, which a tokenizer.json cannot say")
    prefix = [{"type": "Prepend", "prepend": SPACE}] if model.add_dummy_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if model.add_dummy_prefix else []
    special = [i for i, piece in enumerate(model.pieces) if piece.type in (UNKNOWN, CONTROL, USER_DEFINED)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(i, model.pieces[i].text) for i in special],
        # Not a Metaspace pre-tokenizer: that leaves the prefix out where a text begins with a space.
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, _replace(" ", SPACE)]},
        "pre_tokenizer": None,
        "post_processor": _bos_first(UNK_BOS_EOS[1]),
        "decoder": {"type": "Sequence", "decoders": [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, *strip]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [f"{left} {right}" for left, right in merges(model)],
        },
    }


def merges(model: SpmModel) -> Iterator[tuple[str, str]]:
    """The pairs of pieces that SentencePiece joins, first those it prefers.

    SentencePiece joins any two neighbours whose text together is a piece, the piece of the highest score first, then the
    leftmost. So each piece stands here once for every way to cut it into two pieces, in the order of the scores; the cuts of
    one piece come together, the shorter left part first (which of two overlapping ones is the leftmost pair in a text of
    repeated characters).
    """
    normal = {piece.text: piece.score for piece in model.pieces if piece.type == NORMAL}
    for text in sorted(normal, key=lambda text: -normal[text]):
        for at in range(1, len(text)):
            if text[:at] in normal and text[at:] in normal:
                yield text[:at], text[at:]


def _special(id: int, content: str) -> dict[str, Any]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": id, "content": content, **plain}


def _replace(what: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": what}, "content": by}


def _bos_first(bos: int) -> dict[str, Any]:
    """BOS before a text, and before each of a pair."""
    token = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    a, b = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    second = {"SpecialToken": {"id": "<s>", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [token, a],
        "pair": [token, a, second, b],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [bos], "tokens": ["<s>"]}},
    }
