"""A finished dialogue to training samples: every reply stands behind exactly the ids it would be served behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from mistral7b.errors import ChatError
from mistral7b.tokens.chat import encode, fitted, refusals, to_mistral
from mistral7b.tokens.messages import Message, in_order, read_messages
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.tokens.tools import read_tools

if TYPE_CHECKING:
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

On = Literal["assistant", "all"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence, from BOS on: there is loss on predicting `ids[i]` if and only if `trained[i]`."""

    ids: list[int]
    trained: list[bool]

    def __post_init__(self) -> None:
        assert len(self.ids) == len(self.trained), "one mark an id"
        assert not any(self.trained[:1]), "nothing predicts the first id"


def samples_of(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    *,
    trained: Sequence[bool] | None = None,
    on: On = "assistant",
    notes: list[str] | None = None,
) -> list[Sample]:
    """The samples of a dialogue in the template of the tokenizer's generation.

    `messages` and `tools` are shaped as `chat.render` takes them, the assistant's replies in their places. `trained` says of
    each message whether it is learned, which counts for replies; None: all are. A learned reply and its EOS stand behind the
    ids that `render` makes of the messages before it. Where these continue the sample so far, the sample grows; else another
    begins: v2 and v3 keep tools and system prompt at the last user message, so in a dialogue with either each user message
    begins one. Messages after the last learned reply are in no sample; without a learned reply there are no samples.

    There is loss on the learned replies, and with "all" also on what stands between each and the reply before it. What
    rendering changed goes to `notes`. Raises ChatError, one line, for what no template can hold or nobody could be served.
    """
    assert trained is None or len(trained) == len(messages), "one mark a message"
    as_read: list[str] = []
    turns = read_messages(messages, as_read)
    offered = read_tools(tools or ())
    _check_replies(turns)
    encoder = _Encoder(tokenizer)
    samples: list[Sample] = []
    changes: list[str] = []
    for place, turn in enumerate(turns):
        if turn.role != "assistant" or not (trained is None or trained[place]):
            continue
        changes.clear()
        prompt, reply = _prompt_and_reply(tokenizer, encoder, turns[:place], turn, offered, changes)
        done = len(samples[-1].ids) if samples else 0
        if not samples or prompt[:done] != samples[-1].ids:
            samples.append(Sample([], []))
            done = 0
        begin = len(prompt) if on == "assistant" else _new_part(prompt, tokenizer.eos_id)
        ids, marks = samples[-1].ids, samples[-1].trained
        ids += prompt[done:] + reply
        marks += [False] * (begin - done) + [True] * (len(ids) - begin)
    if notes is not None:
        notes += as_read + changes  # of the last reply: its prompt holds the prompts before it
    return samples


def _check_replies(turns: list[Message]) -> None:
    """ChatError for replies that would be written in no turn of their own."""
    for turn in turns:
        if turn.prefix:
            raise ChatError(f"message {turn.number} is a prefix to be continued; give whole replies")
        if turn.role == "assistant" and not turn.calls and not turn.content.strip(" "):
            raise ChatError(f"message {turn.number} from the assistant is empty but for spaces")
    said = [turn for turn in turns if turn.role != "system"]
    for before, after in pairwise(said):
        if before.role == after.role == "assistant":
            raise ChatError(f"messages {before.number} and {after.number} are both from the assistant; join them")


def _prompt_and_reply(
    tokenizer: Tokenizer,
    encoder: _Encoder,
    before: list[Message],
    reply: Message,
    offered: list[dict[str, Any]],
    notes: list[str],
) -> tuple[list[int], list[int]]:
    """Ids of the prompt that `chat.render` makes of the messages `before`, and of the reply with its EOS."""
    from mistral_common.protocol.instruct.messages import UserMessage

    if not before:
        raise ChatError(f"message {reply.number} from the assistant answers nothing; begin with a user message")
    version = tokenizer.version
    turns = fitted(version, [*in_order(before, notes), reply], offered, notes)
    prompt = encode(version, encoder.of_prompts, turns[:-1], offered, notes).ids
    said = to_mistral(turns[-1])
    with refusals(version):
        encoder.finished.validate_messages([UserMessage(content=""), said])
        return prompt, encoder.of_replies.encode_assistant_message(said, is_before_last_user_message=False)


def _new_part(prompt: list[int], eos_id: int) -> int:
    """Where in `prompt` begins what follows the last reply in it, or BOS."""
    return next((place for place in range(len(prompt), 1, -1) if prompt[place - 1] == eos_id), 1)


class _Encoder:
    """mistral-common's encoder made fast for the prompts of one dialogue, most of which are the same from one to the next."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        from mistral_common.protocol.instruct.normalize import get_normalizer
        from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
        from mistral_common.tokens.tokenizers.base import TokenizerVersion

        version = TokenizerVersion(tokenizer.version)
        plain: Any = tokenizer.mistral.instruct_tokenizer
        checked: Any = _CheckedOnce(get_validator(version, ValidationMode.serving))
        self.of_replies: Any = type(plain)(_Remembered(plain.tokenizer))
        self.of_prompts: MistralTokenizer[Any, Any, Any, Any, Any]
        self.of_prompts = type(tokenizer.mistral)(self.of_replies, checked, get_normalizer(version))
        self.finished = get_validator(version, ValidationMode.finetuning)


class _Remembered:
    """A SentencePiece tokenizer that encodes each text once, and spells no ids: mistral-common spells every prompt it makes."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._ids: dict[str, list[int]] = {}

    def encode(self, text: str, bos: bool, eos: bool) -> list[int]:
        assert not bos, "a prompt's BOS stands alone"
        assert not eos, "a reply's EOS is added to it"
        if text not in self._ids:
            self._ids[text] = self._plain.encode(text, bos=False, eos=False)
        return list(self._ids[text])

    def decode(self, ids: list[int], **_: object) -> str:  # noqa: ARG002 - what is called, and to no end
        return ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


class _CheckedOnce:
    """A validator that holds the tools, the same in all prompts, against JSON Schema in the first alone."""

    def __init__(self, plain: Any) -> None:
        self._plain = plain
        self._done = False

    def validate_request(self, request: Any) -> Any:
        if self._done:
            self._plain.validate_messages(request.messages)
            return request
        self._done = True
        return self._plain.validate_request(request)
