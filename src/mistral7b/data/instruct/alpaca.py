"""Records of one task and its answer: Alpaca's instruction, input and output, self-instruct's instances, prompt and answer."""

from __future__ import annotations

import re

from mistral7b.data.instruct import messages, shapes
from mistral7b.data.instruct.shapes import Dialogue, Object
from mistral7b.errors import DataError

KEYS = {
    "instruction",
    "input",
    "output",
    "response",
    "instances",
    "prompt",
    "answer",
    "completion",
    "question",
    "system",
    "tools",
}
ANSWERS = ("output", "response", "answer", "completion")
# How Alpaca's trainer words a task; a prompt of these words is taken for the task in them.
_WORDED = re.compile(
    r"Below is an instruction that describes a task(?:, paired with an input that provides further context)?\. "
    r"Write a response that appropriately completes the request\.\n\n"
    r"### Instruction:\n(.*?)(?:\n\n### Input:\n(.*?))?\n\n### Response:\s*",
    re.DOTALL,
)


def read(record: Object) -> list[Dialogue]:
    """One dialogue a task, the input below the instruction with a blank line between. Raises DataError."""
    system = shapes.text(record, "system")
    asked = next(key for key in ("instruction", "prompt", "question") if key in record)
    if isinstance(record[asked], list):
        return [_of_messages(record, asked)]
    instruction = shapes.text(record, asked)
    if worded := _WORDED.fullmatch(instruction):
        instruction = "\n\n".join(part for part in worded.groups() if part)
    instances = record.get("instances")
    if instances is None:
        instances = [record]
    if not isinstance(instances, list) or not all(isinstance(instance, dict) for instance in instances):
        raise DataError("instances must be a list of objects with input and output")
    return [_task(instruction, instance, system) for instance in instances]


def _task(instruction: str, instance: Object, system: str) -> Dialogue:
    given = shapes.text(instance, "input")
    answer = shapes.text(instance, _answer(instance))
    user = "\n\n".join(part for part in (instruction, given) if part)
    if not user or not answer:
        raise DataError(f"its {'answer' if user else 'task'} is empty")
    return shapes.turns(user, answer, system)


def _answer(record: Object) -> str:
    found = [key for key in ANSWERS if key in record]
    if len(found) != 1:
        raise DataError(f"it needs one of {', '.join(ANSWERS)}" + (f", and has {' and '.join(found)}" if found else ""))
    return found[0]


def _of_messages(record: Object, asked: str) -> Dialogue:
    """A prompt and its completion as lists of messages; the prompt's replies are not learned."""
    answer = record[_answer(record)]
    if not isinstance(answer, list):
        raise DataError(f"{asked} is a list of messages, so its answer must be one")
    prompt = [message | {"weight": 0} if _said(message) else message for message in record[asked]]
    return messages.read({"messages": [*prompt, *answer], "tools": record.get("tools")})


def _said(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "assistant"
