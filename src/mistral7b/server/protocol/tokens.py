"""/tokenize, /detokenize and /apply-template: what may be asked, in vLLM's words."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mistral7b.server.protocol.common import Id, Listed, Strict


class Conversation(Strict):
    """A chat that is to be rendered and not answered; always up to where the reply begins, which is all a template can do."""

    model: str | None = None
    messages: Listed[dict[str, Any]] = Field(min_length=1)
    tools: Listed[dict[str, Any]] | None = None
    safe_prompt: bool | None = None
    add_generation_prompt: Literal[True] | None = None


class TokenizeRequest(Strict):
    """A `prompt`, after one BOS unless `add_special_tokens` is false, or `messages` in the model's template."""

    model: str | None = None
    prompt: str | None = None
    add_special_tokens: bool | None = None
    messages: Listed[dict[str, Any]] | None = Field(None, min_length=1)
    tools: Listed[dict[str, Any]] | None = None
    safe_prompt: bool | None = None
    add_generation_prompt: Literal[True] | None = None
    return_token_strs: bool | None = None

    @model_validator(mode="after")
    def _one(self) -> TokenizeRequest:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give one of prompt and messages")
        if self.messages is not None and self.add_special_tokens:
            raise ValueError("add_special_tokens is for a prompt; a template has its own")
        if self.prompt is not None and (self.tools or self.safe_prompt or self.add_generation_prompt):
            raise ValueError("tools, safe_prompt and add_generation_prompt are for messages")
        return self

    @property
    def conversation(self) -> Conversation | None:
        """The chat, if it is one."""
        if self.messages is None:
            return None
        return Conversation(messages=self.messages, tools=self.tools, safe_prompt=self.safe_prompt)


class DetokenizeRequest(Strict):
    """Ids whose text is wanted."""

    model: str | None = None
    tokens: Listed[Id]
