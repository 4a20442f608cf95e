"""Token ids to text, one id at a time: no broken character, no lost or invented space."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from mistral7b.tokens.spm_file import SPACE
from mistral7b.tokens.tokenizer import Tokenizer

_LONGEST_BROKEN = 3  # bytes of a UTF-8 character that may still miss its last one


class Detokenizer:
    """Incremental `Tokenizer.decode`: the strings `push` returns, joined, and `finish()` equal `decode` of all ids.

    SentencePiece puts a space before every text it encodes and drops it when it decodes, so whether the first piece's "▁"
    is text depends on what the ids continue:

    - `prompt_ids=()`: a text of its own, such as a chat reply; the space is dropped. `▁Hi` gives "Hi".
    - `prompt_ids` of a plain completion: they go on with the text after the prompt's last control id; if there is any, the
      space is kept: [<s>, ▁Once, ▁upon] then `▁a` gives " a". A prompt that ends in a control id ([/INST] in v2 and v3) has
      none, and the space is dropped. With `tail` that last stretch of the prompt, the streamed text is what
      `decode(tail + ids)` has beyond `decode(tail)`.

    For chats pass `Rendered.prefix_ids`: in v1, [/INST] is ordinary text, so its ids alone do not show where a reply begins.
    Bytes of an unfinished character at the end of the prompt are finished by the stream.
    """

    def __init__(self, tokenizer: Tokenizer, *, prompt_ids: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._begun = False  # an id that is not control has been seen: nothing is stripped any more
        self._broken = b""  # bytes that may still become a character
        for id in prompt_ids[-_LONGEST_BROKEN:]:
            if tokenizer.is_control(id):
                self._begun, self._broken = False, b""
            else:
                self.push(id)

    def push(self, id: int) -> str:
        """The text that `id` completes; empty while a character misses bytes. TokenizerError for an unknown id."""
        tokenizer = self._tokenizer
        if tokenizer.is_byte(id):
            self._begun = True
            return self._drain(tokenizer.piece_bytes(id), final=False)
        text = self._drain(b"", final=True)  # as in decode, a character's bytes must be neighbours
        if tokenizer.is_control(id):
            return text
        piece = tokenizer.piece_bytes(id).decode()
        if not self._begun and tokenizer.piece(id).startswith(SPACE):
            piece = piece[1:]
        self._begun = True
        return text + piece

    def finish(self) -> str:
        """What is left at the end: one U+FFFD for each byte of a character that was never completed."""
        return self._drain(b"", final=True)

    def _drain(self, new: bytes, *, final: bool) -> str:
        """Text of the held bytes and `new`; the codec keeps an unfinished character back unless `final`."""
        data, text = self._broken + new, ""
        while True:
            try:
                whole, used = codecs.utf_8_decode(data, "strict", final)
            except UnicodeDecodeError as error:
                text += data[: error.start].decode() + "\ufffd"
                data = data[error.start + 1 :]
            else:
                self._broken = data[used:]
                return text + whole
