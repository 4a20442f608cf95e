"""/v1/chat/completions: what may be asked."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mistral7b.server.errors import BadField
from mistral7b.server.protocol.common import Listed, Strict, Text
from mistral7b.server.protocol.sampling import Sampling
from mistral7b.tokens.structured import StructuredOutput


class JsonSchema(Strict):
    """A named schema. It is always followed to the letter, so `strict` changes nothing; `name` and `description` are not
    shown to the model, as nothing is added to a prompt."""

    name: Text
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class ResponseFormat(Strict):
    """`text`, any JSON object, or JSON that follows a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("type json_schema and a json_schema go together")
        return self


class NamedFunction(Strict):
    """A tool by its name."""

    name: Text


class NamedTool(Strict):
    """The tool that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


class ChatRequest(Sampling):
    """Messages and tools are read further by `tokens.chat`, which names the first that no template can hold.

    Fields whose only accepted value is their default are those that this server has nothing else to offer for.
    """

    messages: Listed[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=0, le=2**31 - 1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    tools: Listed[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required", "any"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    safe_prompt: bool | None = None
    session_id: str | None = Field(None, pattern="^[A-Za-z0-9_-]{1,64}$")

    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None
    modalities: Listed[Literal["text"]] | None = None

    @model_validator(mode="after")
    def _fitting(self) -> ChatRequest:
        if (
            self.max_tokens is not None
            and self.max_completion_tokens is not None
            and self.max_tokens != self.max_completion_tokens
        ):
            raise BadField("max_tokens", "max_tokens and max_completion_tokens are one field; send one of them")
        if self.top_logprobs is not None and not self.logprobs:
            raise BadField("top_logprobs", "top_logprobs needs logprobs to be true")
        forced = isinstance(self.tool_choice, NamedTool) or self.tool_choice in ("required", "any")
        if forced and not self.tools:
            raise BadField("tool_choice", "tool_choice forces a call, and there are no tools")
        if self.parallel_tool_calls is not None and not self.tools:
            raise BadField("parallel_tool_calls", "parallel_tool_calls says how tools are called, and there are no tools")
        if forced and self._formed:
            raise BadField("tool_choice", "tool_choice forces a call, which leaves no text for a grammar to form; leave one out")
        return self

    @property
    def _formed(self) -> bool:
        """Whether the answer's text is bound to a grammar."""
        named = (self.structured_outputs, self.guided_json, self.guided_regex, self.guided_choice, self.guided_grammar)
        formatted = self.response_format is not None and self.response_format.type != "text"
        return formatted or any(one is not None for one in named)

    def grammars(self) -> list[StructuredOutput]:
        """Every grammar that the request asks for."""
        asked = self.response_format
        if asked is None or asked.type == "text":
            return super().grammars()
        if asked.json_schema is None:
            return [StructuredOutput("json_object", None), *super().grammars()]
        return [StructuredOutput("json_schema", asked.json_schema.schema_), *super().grammars()]

    @property
    def limit(self) -> int | None:
        """The most tokens of the answer; None: what is left of the context."""
        return self.max_tokens if self.max_tokens is not None else self.max_completion_tokens

    @property
    def top(self) -> int | None:
        """How many likeliest tokens to report beside each; None for no log-probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools that the model is shown: none of them when none may be called."""
        return [] if self.tool_choice == "none" else self.tools or []

    @property
    def forced(self) -> bool:
        """True when a tool must be called."""
        return self.tool_choice in ("required", "any") or isinstance(self.tool_choice, NamedTool)

    @property
    def named(self) -> str | None:
        """The one tool that may be called."""
        return self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None
