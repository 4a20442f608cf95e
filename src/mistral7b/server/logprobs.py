"""Log-probabilities as the chat API, the older completions API and vLLM write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mistral7b.outputs import Logprob
from mistral7b.tokens.stream import Detokenizer
from mistral7b.tokens.tokenizer import Tokenizer

_LEAST = -9999.0  # OpenAI's number for a token that cannot come: JSON has no infinity

Likely = Mapping[int, Logprob]


class Namer:
    """Ids as the API names them: the text of a piece, `bytes:\\xe2` for one that is no text by itself, a control id by name."""

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    def name(self, id: int) -> tuple[str, list[int] | None]:
        """The name of `id` and its UTF-8 bytes; None for one that has no text."""
        tokenizer = self._tokenizer
        if tokenizer is None or id >= tokenizer.vocab_size:
            return f"token_id:{id}", None
        if tokenizer.is_control(id):
            return tokenizer.piece(id), None
        spelt = tokenizer.piece_bytes(id)
        try:
            return spelt.decode(), list(spelt)
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in spelt), list(spelt)

    def chat(self, id: int, likely: Likely, top: int) -> dict[str, Any]:
        """One entry of a chat's `logprobs.content`, with the `top` likeliest in order."""
        return {**self._spelt(id, likely[id]), "top_logprobs": [self._spelt(*one) for one in ranked(likely)[:top]]}

    def _spelt(self, id: int, found: Logprob) -> dict[str, Any]:
        token, spelt = self.name(id)
        return {"token": token, "logprob": finite(found.logprob), "bytes": spelt}


class Legacy:
    """The four parallel lists of /v1/completions for one choice, made as its ids come.

    `text_offset` counts the characters of the choice's text before each token. A token's name stands for itself there, so the
    names of two of the likeliest tokens may be the same; the likelier one is then reported.
    """

    def __init__(self, tokenizer: Tokenizer | None, context_ids: Sequence[int], top: int) -> None:
        self._namer = Namer(tokenizer)
        known = [] if tokenizer is None else [id for id in context_ids if id < tokenizer.vocab_size]
        self._detokenizer = None if tokenizer is None else Detokenizer(tokenizer, prompt_ids=known)
        self._tokenizer = tokenizer
        self._top = top
        self._offset = 0

    def take(self, ids: Sequence[int], likely: Sequence[Likely | None]) -> dict[str, list[Any]]:
        """The lists for the next `ids`; an entry that is None is a prompt's first token, which follows nothing."""
        lists: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for id, found in zip(ids, likely, strict=True):
            lists["tokens"].append(self._namer.name(id)[0])
            lists["token_logprobs"].append(None if found is None else finite(found[id].logprob))
            lists["top_logprobs"].append(None if found is None else self._likeliest(found))
            lists["text_offset"].append(self._offset)
            if self._detokenizer is not None and self._tokenizer is not None and id < self._tokenizer.vocab_size:
                self._offset += len(self._detokenizer.push(id))
        return lists

    def _likeliest(self, likely: Likely) -> dict[str, float]:
        named: dict[str, float] = {}
        for id, found in ranked(likely)[: self._top]:
            named.setdefault(self._namer.name(id)[0], finite(found.logprob))
        return named


def vllm(likely: Sequence[Likely | None] | None) -> list[dict[str, Any] | None] | None:
    """`prompt_logprobs` as vLLM writes them: ids as text, each with its log-probability, rank and piece."""
    if likely is None:
        return None
    return [
        None
        if found is None
        else {
            str(id): {"logprob": finite(one.logprob), "rank": one.rank, "decoded_token": one.decoded_token}
            for id, one in ranked(found)
        }
        for found in likely
    ]


def ranked(likely: Likely) -> list[tuple[int, Logprob]]:
    """The likeliest first; among equals as the engine ordered them."""
    return sorted(likely.items(), key=lambda pair: pair[1].rank)


def finite(logprob: float) -> float:
    """`logprob`, or the least one that the API knows."""
    return max(logprob, _LEAST)
