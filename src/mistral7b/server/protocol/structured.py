"""vLLM's `structured_outputs`: a grammar for the answer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mistral7b.server.protocol.common import Listed, Strict, Text
from mistral7b.tokens.structured import StructuredOutput


class StructuredOutputs(Strict):
    """vLLM's extension: exactly one kind of grammar that the text must follow."""

    json_: dict[str, Any] | None = Field(None, alias="json")
    json_object: Literal[True] | None = None
    regex: Text | None = None
    choice: Listed[Text] | None = Field(None, min_length=1)
    grammar: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        if sum(value is not None for value in (self.json_, self.json_object, self.regex, self.choice, self.grammar)) != 1:
            raise ValueError("give exactly one of json, json_object, regex, choice and grammar")
        return self

    def read(self) -> StructuredOutput:
        """The one that was given."""
        if self.json_ is not None:
            return StructuredOutput("json_schema", self.json_)
        if self.regex is not None:
            return StructuredOutput("regex", self.regex)
        if self.choice is not None:
            return StructuredOutput("choice", self.choice)
        if self.grammar is not None:
            return StructuredOutput("grammar", self.grammar)
        return StructuredOutput("json_object", None)
