"""Text as words: for datatrove's filters, and for everything here that counts or compares words."""

from __future__ import annotations

import re

from datatrove.utils.word_tokenizers import WordTokenizer

# Words are runs of letters and digits with apostrophes or hyphens inside. Scripts without blanks between words (Chinese,
# Japanese, Hangul syllables) count by the character. The marks of sentences belong to the word they stand at, as in Gopher's
# count by blanks; other signs (# = { ...) are words, and are what rules about symbols look for.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_MARKS = r".,;:!?\"'’‘“”„«»‹›()…\-–—。，、！？"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’\-][^\W{_UNSPACED}]+)*|[^\w\s{_MARKS}]")
_PLAIN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")
_SENTENCE = re.compile(r".+?(?:[.!?…。！？]+[\"'»”’)\]]*(?=\s|$)|$)", re.DOTALL)


class Words(WordTokenizer):
    """Words and sentences by two regular expressions: no model, no download, the same on every machine."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words)

    def __hash__(self) -> int:
        return hash(Words)  # datatrove keeps the words of the last texts by (text, tokenizer)

    def word_tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        return [found.strip() for found in _SENTENCE.findall(text) if found.strip()]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in _SENTENCE.finditer(text)]


WORDS = Words()


def plain_words(text: str) -> list[str]:
    """The words of `text` in lower case without punctuation: "Don't -- stop!" is dont, stop."""
    return [word.replace("'", "").replace("’", "") for word in _PLAIN.findall(_lower(text))]


def plain_spans(text: str) -> list[tuple[int, int]]:
    """Where each of `plain_words(text)` stands in `text`."""
    return [match.span() for match in _PLAIN.finditer(_lower(text))]


def _lower(text: str) -> str:
    """In lower case, as long as before: the few letters whose lower case is two signs stay as they are."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := letter.lower()) == 1 else letter for letter in text)
