"""What requests for chats and for plain completions have in common. Nothing is coerced, and no field is ever ignored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from mistral7b.engine.params import SamplingParams
from mistral7b.errors import RequestError
from mistral7b.server.errors import BadField
from mistral7b.server.protocol.common import Id, Listed, Strict, Text
from mistral7b.server.protocol.structured import StructuredOutputs
from mistral7b.server.settings import Settings
from mistral7b.tokens.structured import StructuredOutput

_MOST_BIASES = 1024


class StreamOptions(Strict):
    """`include_usage`: a last chunk with the token counts. Padding against eavesdroppers is not ours to give."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class Sampling(Strict):
    """The fields that say how tokens are chosen and how the answer is sent; null is what leaving a field out is.

    Names and defaults are OpenAI's; `random_seed` is Mistral's name of `seed`, and `user` goes to the log; those from `top_k` on
    are vLLM's extensions.
    """

    model: str | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: Text | Listed[Text] | None = None
    max_tokens: int | None = Field(None, ge=0, le=2**31 - 1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    random_seed: int | None = Field(None, ge=0, le=2**63 - 1)
    user: str | None = Field(None, max_length=256)

    top_k: int | None = Field(None, ge=-1, le=2**31 - 1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    stop_token_ids: Listed[Id] | None = Field(None, max_length=1024)
    min_tokens: int | None = Field(None, ge=0, le=2**31 - 1)
    ignore_eos: bool | None = None
    prompt_logprobs: int | None = Field(None, ge=0)
    priority: int | None = Field(None, ge=-(2**31), le=2**31 - 1)
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | None = None
    guided_regex: Text | None = None
    guided_choice: Listed[Text] | None = Field(None, min_length=1)
    guided_grammar: Text | None = None
    return_token_ids: bool | None = None

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _few_biases(cls, given: Any) -> Any:
        if isinstance(given, dict) and len(given) > _MOST_BIASES:  # before each of them is looked at
            raise ValueError(f"{len(given):,} biases are more than the {_MOST_BIASES:,} this server takes")
        return given

    @model_validator(mode="before")
    @classmethod
    def _unicode(cls, body: Any) -> Any:
        for name, value in body.items() if isinstance(body, dict) else ():
            try:
                json.dumps([name, value], ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise BadField(name, f"{name} holds a lone surrogate, which is not Unicode text; remove it") from None
        return body

    @model_validator(mode="after")
    def _consistent(self) -> Sampling:
        if self.stream_options is not None and not self.stream:
            raise BadField("stream_options", "stream_options needs stream to be true")
        if self.seed is not None and self.random_seed is not None:
            raise BadField("random_seed", "seed and random_seed are one field; send one of them")
        return self

    def grammars(self) -> list[StructuredOutput]:
        """Every grammar that the request asks for."""
        found = [] if self.structured_outputs is None else [self.structured_outputs.read()]
        if self.guided_json is not None:
            found.append(StructuredOutput("json_schema", self.guided_json))
        if self.guided_regex is not None:
            found.append(StructuredOutput("regex", self.guided_regex))
        if self.guided_choice is not None:
            found.append(StructuredOutput("choice", self.guided_choice))
        if self.guided_grammar is not None:
            found.append(StructuredOutput("grammar", self.guided_grammar))
        return found

    @property
    def grammar_field(self) -> str | None:
        """The field beside response_format that a grammar was asked for with."""
        names = ("structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar")
        return next((name for name in names if getattr(self, name) is not None), None)

    def params(self, *, max_tokens: int | None, logprobs: int | None, prompt_logprobs: int | None = None) -> SamplingParams:
        """The engine's parameters; raises BadField with the name of the first that makes no sense."""
        grammars = self.grammars()
        if len(grammars) > 1:
            raise BadField("structured_outputs", "an answer can follow one grammar; leave out all but one")
        seed = self.seed if self.seed is not None else self.random_seed
        wanted: Mapping[str, Any] = {
            "n": self.n,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": _biases(self.logit_bias),
            "seed": None if seed is None else seed % 2**64,
            "min_tokens": self.min_tokens,
            "stop": self.stop,
            "stop_token_ids": self.stop_token_ids,
            "ignore_eos": self.ignore_eos,
            "prompt_logprobs": self.prompt_logprobs if prompt_logprobs is None else prompt_logprobs,
            "structured": grammars[0] if grammars else None,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        try:
            return SamplingParams(max_tokens=max_tokens, logprobs=logprobs, **given)
        except RequestError as error:
            raise self.refused(error, "body") from None

    def refused(self, error: RequestError, otherwise: str) -> BadField:
        """`error` as an answer. The errors of the house begin with the field that they are about, if it is one of ours."""
        told, name = str(error), str(error).split(" ", 1)[0].rstrip(":")
        if name == "response_format" and (asked := self.grammar_field) is not None:
            told, name = told.replace(name, asked, 1), asked
        return BadField(name if name in type(self).model_fields else otherwise, told, code="invalid_value")

    def check(self, settings: Settings) -> None:
        """Raises BadField for a request of more than this server gives to one client."""
        if (self.n or 1) > settings.max_n:
            raise BadField("n", f"n is at most {settings.max_n} here, not {self.n}", code="invalid_value")
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if len(stops) > settings.max_stop_strings:
            message = f"{len(stops):,} stop strings are more than the {settings.max_stop_strings} this server takes"
            raise BadField("stop", message, code="invalid_value")
        if any(len(text) > settings.max_stop_length for text in stops):
            message = f"a stop string is longer than the {settings.max_stop_length:,} characters this server takes"
            raise BadField("stop", message, code="invalid_value")


def _biases(given: Mapping[str, float] | None) -> dict[int, float] | None:
    """logit_bias with numbers for ids: JSON knows only text as keys."""
    if given is None:
        return None
    for id in given:
        if not (id.isascii() and id.isdigit() and len(id) <= 10):
            raise BadField("logit_bias", f"logit_bias: {id!r} is no token id; its keys are ids as text", code="invalid_value")
    return {int(id): bias for id, bias in given.items()}
