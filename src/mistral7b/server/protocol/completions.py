"""/v1/completions: what may be asked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from mistral7b.server.errors import BadField
from mistral7b.server.protocol.common import Id, Listed
from mistral7b.server.protocol.sampling import Sampling

Ids = Annotated[Listed[Id], Field(min_length=1)]


class CompletionRequest(Sampling):
    """`prompt` is text, ids, or a list of either. `best_of` must be `n`: every completion that is made is sent."""

    prompt: str | Ids | Annotated[Listed[str], Field(min_length=1)] | Annotated[Listed[Ids], Field(min_length=1)]
    echo: bool | None = None
    best_of: int | None = Field(None, ge=1)
    logprobs: int | None = Field(None, ge=0)

    @field_validator("prompt", mode="wrap")
    @classmethod
    def _prompt(cls, value: Any, check: ValidatorFunctionWrapHandler) -> Any:
        try:
            return check(value)
        except ValidationError:
            raise ValueError("must be text, token ids, or a list of either, and not empty") from None

    @model_validator(mode="after")
    def _fitting(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise BadField("best_of", "best_of must be n: this server sends every completion it makes")
        if self.max_tokens == 0 and not self.echo:
            raise BadField("max_tokens", "max_tokens must be at least 1, unless echo is true")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or more prompts, in their order."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        several: list[str | list[int]] = []
        ids = [part for part in self.prompt if isinstance(part, int)]
        several.extend(part for part in self.prompt if not isinstance(part, int))
        return [ids] if ids else several

    @property
    def limit(self) -> int:
        """The most tokens of an answer: OpenAI's default is 16."""
        return 16 if self.max_tokens is None else self.max_tokens
