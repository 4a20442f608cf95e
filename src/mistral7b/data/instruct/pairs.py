"""Preference data: one prompt, the reply that is wanted and the one that is not, as two samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mistral7b.data.instruct import messages
from mistral7b.data.instruct.encoding import encoded
from mistral7b.data.instruct.layouts import with_tools
from mistral7b.data.instruct.mends import mended
from mistral7b.data.instruct.records import read_records
from mistral7b.data.instruct.shapes import Dialogue, Message, Object, Services
from mistral7b.errors import DataError
from mistral7b.tokens.dialogue import Sample
from mistral7b.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Pairs:
    """(Chosen, rejected), each with loss on the last reply alone behind the same prompt. `ends` says, for each file, how many
    pairs there are up to its end; `dropped` counts those that were too long."""

    pairs: tuple[tuple[Sample, Sample], ...]
    ends: tuple[int, ...]
    dropped: int = 0

    @classmethod
    def read(
        cls,
        files: Sequence[Path],
        tokenizer: Tokenizer,
        *,
        length: int,
        too_long: Literal["refuse", "drop"] = "refuse",
        services: Services | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> Pairs:
        """The pairs of `files`, in their order, no sample longer than `length` tokens. A longer one is refused or dropped.

        A record has `chosen` and `rejected`, texts or messages, and the messages before them as `prompt` (a text or messages)
        or `messages`, or at the beginning of both. Raises DataError with file and line at the first fault, and for files
        without a pair.
        """
        pairs: list[tuple[Sample, Sample]] = []
        ends: list[int] = []
        dropped = 0
        for path in files:
            for record in read_records(Path(path)):
                beat()
                try:
                    if record.fault:
                        raise DataError(record.fault)
                    pair = pair_of(tokenizer, with_tools(record.value, services or {}))
                    longest = max(len(sample.ids) for sample in pair)
                    if longest > length and too_long == "refuse":
                        raise DataError(f"{longest:,} tokens, more than {length:,}; drop what is too long")
                except DataError as error:
                    raise DataError(f"{record.place}: {error}") from None
                if longest > length:
                    dropped += 1
                else:
                    pairs.append(pair)
            ends.append(len(pairs))
        if not pairs:
            raise DataError(f"{', '.join(map(str, files)) or 'no file'}: there is no pair to learn from; give other data")
        return cls(tuple(pairs), tuple(ends), dropped)


def pair_of(tokenizer: Tokenizer, record: Object) -> tuple[Sample, Sample]:
    """The samples of one record. Raises DataError, also if the two differ before their last replies, or not at all."""
    chosen, rejected = (_dialogue(record, key) for key in ("chosen", "rejected"))
    if chosen.messages[:-1] != rejected.messages[:-1]:
        raise DataError("chosen and rejected differ before their last replies; give the same messages before both")
    if chosen.messages[-1] == rejected.messages[-1]:
        raise DataError("chosen and rejected are the same")
    (first,), (second,) = (encoded(tokenizer, said, "assistant") for said in (chosen, rejected))
    return first, second


def _dialogue(record: Object, key: str) -> Dialogue:
    before = _prompt(record)
    said = _reply(key, record.get(key))
    whole = said[0].get("role") not in ("assistant", "tool")  # it holds its prompt, which a prompt beside it repeats
    if whole and before and said[: len(before)] != before:
        raise DataError(f"{key} begins with other messages than the prompt; leave the prompt out of one of them")
    if not whole and not before:
        raise DataError("there is no prompt; give it as a text or a list of messages")
    read = messages.read(
        {
            "messages": said if whole else [*before, *said],
            "tools": record.get("tools") or record.get("available_tools"),
            "system_prompt": record.get("system_prompt") or record.get("system"),
            "only_last": True,
        }
    )
    found, faults = mended(read)
    if faults:
        raise DataError(f"{key}: {faults[0]}")
    if found.messages[-1].get("role") != "assistant":
        raise DataError(f"{key} must end with a reply of the assistant")
    return found


def _prompt(record: Object) -> list[Message]:
    given = [key for key in ("prompt", "messages") if record.get(key)]
    if len(given) == 2:
        raise DataError("it has both prompt and messages; keep one of them")
    found = record[given[0]] if given else []
    return [{"role": "user", "content": found}] if isinstance(found, str) else _listed(given[0] if given else "prompt", found)


def _reply(key: str, found: object) -> list[Message]:
    if isinstance(found, str):
        return [{"role": "assistant", "content": found}]
    listed = _listed(key, [found] if isinstance(found, dict) else found)
    if not listed:
        raise DataError(f"{key} is empty")
    return listed


def _listed(key: str, found: object) -> list[Message]:
    if not isinstance(found, list) or not all(isinstance(message, dict) for message in found):
        raise DataError(f"{key} must be a text or a list of messages")
    return list(found)
