"""What an evaluation asks in words, as ids: one BOS, and chats in the model's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from mistral7b.errors import ChatError
from mistral7b.evals.forest import shared
from mistral7b.tokens import chat
from mistral7b.tokens.tokenizer import Tokenizer

_BOS = "<s>"


class Wording:
    """Text to ids as lm-eval wants them. A chat goes through it as text, which is remembered: what a person wrote in it that
    looks like a control token stays what it is."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._chats: dict[str, list[int]] = {}

    def ids(self, text: str, *, bos: bool = True) -> list[int]:
        """Ids of `text` after one BOS, which it may also spell itself; those of a chat, if it is one that `chat` gave."""
        if text in self._chats:
            return list(self._chats[text])
        return self.tokenizer.encode(text.removeprefix(_BOS), bos=True) if bos else self.tokenizer.encode(text)

    def pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Ids of a context and of what follows it.

        Spaces at the end of a context belong to the continuation, and both are encoded as one text, since a piece may hold
        characters of both: the ids beyond as many as the context alone has are the continuation's, as in lm-eval's own
        backends. Where that leaves none and those fail, it begins at the first id that differs. After a chat it is a text of
        its own, without the space that separates it from the prompt. An empty context is BOS.
        """
        if context in self._chats:
            return self.ids(context), self.tokenizer.encode(continuation.removeprefix(" "))
        if not context:
            return [self.tokenizer.bos_id], self.ids(continuation, bos=False)
        whole, before = self.ids(context + continuation), self.ids(context.rstrip())
        if len(whole) > len(before):
            return before, whole[len(before) :]
        common = shared(before, whole)
        return whole[:common], whole[common:]

    def chat(self, messages: Sequence[Mapping[str, Any]], *, continues: bool = False) -> str:
        """The text that stands for a conversation; with `continues` the last message is the beginning of the answer.

        Raises ChatError for what the template cannot hold, and if another conversation of this run reads the same.
        """
        turns = [dict(message) for message in messages]
        if continues and turns and turns[-1]["role"] == "assistant":
            turns[-1]["prefix"] = True
        ids = chat.render(self.tokenizer, turns).ids
        text = "".join(self._said(list(part)) for _, part in groupby(ids, self.tokenizer.is_control))
        if self._chats.setdefault(text, ids) != ids:
            raise ChatError("two conversations read alike, as one of them spells a control token; change its text")
        return text

    def _said(self, ids: list[int]) -> str:
        if self.tokenizer.is_control(ids[0]):
            return "".join(self.tokenizer.piece(id) for id in ids)
        return self.tokenizer.decode(ids)
