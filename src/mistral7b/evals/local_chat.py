"""A model of this process as a Chat."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from typing import Any

from mistral7b.api import LLM
from mistral7b.conversations.fingerprint import Fingerprint
from mistral7b.engine.params import SamplingParams
from mistral7b.errors import RequestError, TokenizerError
from mistral7b.evals.chats import Ask, Reply
from mistral7b.prompts import check_room
from mistral7b.tokens import chat
from mistral7b.tokens.structured import StructuredOutput


class LocalChat:
    """`llm` as a Chat. Replies at temperature 0 are the model's only one, so what is asked twice is computed once.

    Streams may run in several threads; each step of them holds `lock`, which models that share a processor share too.
    Raises TokenizerError for a model without a tokenizer.
    """

    def __init__(self, llm: LLM, name: str, lock: threading.Lock | None = None) -> None:
        if llm.tokenizer is None:
            raise TokenizerError(f"a chat needs a tokenizer, and {name} has none; add its tokenizer.model")
        self.llm, self.name, self._tokenizer = llm, name, llm.tokenizer
        self._lock = lock or threading.Lock()

    def describe(self) -> dict[str, Any]:
        told = Fingerprint.of(self.llm.model, self._tokenizer, self.llm.engine.pool.k.dtype, self.name).to_json()
        dtype = str(self.llm.model.dtype).removeprefix("torch.")
        return {**told, "dtype": dtype, "max_model_len": self.llm.max_model_len}

    def replies(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        waiting: dict[object, list[int]] = {}
        for number, ask in enumerate(asks):
            same = repr(ask) if ask.temperature == 0 else number
            if same not in waiting and (trouble := self._no_room(ask)) is not None:
                yield number, Reply("", trouble)
            else:
                waiting.setdefault(same, []).append(number)
        groups, together = list(waiting.values()), self.llm.engine.scheduler.max_num_seqs
        for start in range(0, len(groups), together):
            batch = groups[start : start + together]
            firsts = [asks[numbers[0]] for numbers in batch]
            with self._lock:
                outputs = self.llm.chat([list(ask.messages) for ask in firsts], [_params(ask) for ask in firsts])
            for numbers, output in zip(batch, outputs, strict=True):
                for number in numbers:
                    yield number, Reply(output.outputs[0].text.strip())

    def stream(self, ask: Ask) -> Generator[str]:
        deltas = self.llm.stream_chat(list(ask.messages), _params(ask))
        try:
            while True:
                with self._lock:
                    delta = next(deltas, None)
                if delta is None:
                    return
                yield delta.text
        finally:
            with self._lock:
                deltas.close()

    def _no_room(self, ask: Ask) -> str | None:
        try:
            check_room(len(chat.render(self._tokenizer, ask.messages).ids), self.llm.max_model_len)
        except RequestError as error:
            return str(error)
        return None


def _params(ask: Ask) -> SamplingParams:
    bound = StructuredOutput("choice", list(ask.choices)) if ask.choices else None
    return SamplingParams(temperature=ask.temperature, max_tokens=ask.max_tokens, seed=ask.seed, structured=bound)
