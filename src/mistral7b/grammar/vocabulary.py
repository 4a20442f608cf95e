"""The vocabulary as llguidance wants it: the bytes of every id, which ids are no text, and how a text is best spelled."""

from __future__ import annotations

from collections.abc import Sequence

from llguidance import LLTokenizer

from mistral7b.tokens.spm_file import SPACE
from mistral7b.tokens.tokenizer import Tokenizer


class Vocabulary:
    """A tokenizer's ids as bytes, in the shape llguidance looks for.

    Control ids and <unk> are special: a grammar lets them through only where it names them, as in `<[5]>`. What a grammar
    forces is spelled as SentencePiece spells it inside a text, so the ids are those the model was trained on.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        ids = range(tokenizer.vocab_size)
        self.eos_token_id = tokenizer.eos_id
        self.bos_token_id = tokenizer.bos_id
        self.special_token_ids = [id for id in ids if tokenizer.is_control(id) or id == tokenizer.unk_id]
        special = set(self.special_token_ids)
        self.tokens = [tokenizer.piece(id).encode() if id in special else tokenizer.piece_bytes(id) for id in ids]
        self.is_tokenizer_wrapper = True  # by this llguidance knows that it may call the object
        self._tokenizer = tokenizer
        self._bytes = {self.tokens[id][0]: id for id in ids if tokenizer.is_byte(id)}
        # A line break is a byte in these vocabularies and merges with nothing: behind it a text begins without the space that
        # SentencePiece puts before a whole text.
        self._before = tokenizer.encode("\n")

    @property
    def space_byte_id(self) -> int:
        """The id of the byte 0x20. Unlike "▁" it stays a space where a text begins."""
        return self._bytes[0x20]

    def build(self) -> LLTokenizer:
        """llguidance's tokenizer over these ids."""
        return LLTokenizer(self, eos_token=self.eos_token_id)  # type: ignore[arg-type]  # it asks for no more than this class has

    def __call__(self, text: str) -> Sequence[int]:
        """Ids of `text` as they stand inside a longer text. U+2581, in pieces the sign for a space, is spelled in bytes."""
        between = [self._bytes[byte] for byte in SPACE.encode()]
        ids: list[int] = []
        for number, part in enumerate(text.split(SPACE)):
            ids += [*(between if number else ()), *self._inside(part)]
        return ids

    def _inside(self, text: str) -> list[int]:
        ids = self._tokenizer.encode("\n" + text)
        before, inside = ids[: len(self._before)], ids[len(self._before) :]
        if before == self._before and b"".join(self.tokens[id] for id in inside) == text.encode():
            return inside
        return [self._bytes[byte] for byte in text.encode()]
