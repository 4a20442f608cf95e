"""Tool calls as a grammar: the v3 reply `[TOOL_CALLS] [{"name": …, "arguments": {…}, "id": "…"}]`, token for token as trained."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from mistral7b.errors import ChatError, RequestError
from mistral7b.grammar.matcher import GrammarConstraint
from mistral7b.grammar.schemas import prepare
from mistral7b.tokens.tools import read_tools

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# A bound, so that a model which never closes its list still gives an answer that can be read.
MAX_CALLS = 16


def read_functions(tools: Sequence[dict[str, Any]], name: str | None) -> dict[str, dict[str, Any]]:
    """The schema of the arguments by the name of the tool, ready for a grammar; only that of `name` if it is given.

    A tool without parameters takes {}. Raises ChatError for a malformed tool, RequestError for a schema the grammar cannot
    keep, two tools of one name, or a `name` that is none of theirs.
    """
    functions: dict[str, dict[str, Any]] = {}
    for number, tool in enumerate(read_tools(tools), start=1):
        called = tool["function"].get("name")
        if not isinstance(called, str) or not _NAME.fullmatch(called):
            raise ChatError(f"tool {number} needs a name of 1 to 64 letters, digits, _ or -, not {called!r:.80}")
        if called in functions:
            raise RequestError(f"two tools are called {called!r}; give each its own name")
        functions[called] = _arguments(called, tool["function"].get("parameters"))
    if name is not None and name not in functions:
        raise RequestError(f"tool_choice names {name!r:.80}, which is none of the tools; offer it, or choose another")
    if not functions:
        raise RequestError("there are no tools to call; send at least one, or leave tool_choice out")
    return functions if name is None else {name: functions[name]}


def lark(functions: dict[str, dict[str, Any]], *, marker: int, parallel: bool, ids: bool) -> str:
    """The grammar of a reply that calls `functions`: the control id `marker`, then one call, or up to MAX_CALLS if `parallel`.

    Written with json.dumps' separators, as the template writes earlier calls; the space before the list is the one that
    SentencePiece puts before every text. `ids`: each call ends in an id of nine letters or digits (v3), or has none (v2).
    """
    more = f'(", " call){{0,{MAX_CALLS - 1}}}' if parallel else ""
    rules = [f'start: <[{marker}]> " [" call {more} "]"']
    rules.append("call: " + " | ".join(f"call_{number}" for number in range(len(functions))))
    for number, (name, schema) in enumerate(functions.items()):
        head = json.dumps(f'{{"name": "{name}", "arguments": ')
        rules.append(f"call_{number}: {head} %json {json.dumps(schema)} TAIL")
    rules.append('TAIL: /, "id": "[a-zA-Z0-9]{9}"}/' if ids else 'TAIL: "}"')
    return "\n".join(rules) + "\n"


def _arguments(name: str, parameters: object) -> dict[str, Any]:
    schema = {"properties": {}} if parameters is None or parameters == {} else parameters
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise RequestError(f"tool {name!r}: parameters must be a schema of type 'object'")
    try:
        return prepare({"type": "object", **schema}, item_separator=", ", key_separator=": ")
    except RequestError as error:
        raise RequestError(f"tool {name!r}: {error}") from None


class OptionalCalls:
    """Engine constraint of a reply that may call tools: anything may come until the `marker` does, then the grammar holds."""

    def __init__(self, calls: GrammarConstraint, *, vocab_size: int, marker: int) -> None:
        self._calls = calls
        self._marker = marker
        self._begun = False
        self._anything = np.ones(vocab_size, dtype=np.bool_)
        self._anything.flags.writeable = False

    def mask(self) -> np.ndarray:
        """bool `[vocab of the tokenizer]`: see GrammarConstraint."""
        return self._calls.mask() if self._begun else self._anything

    def forced(self) -> list[int]:
        """The ids that must come one after another."""
        return self._calls.forced() if self._begun else []

    def advance(self, id: int) -> None:
        """`id` was taken. ValueError, and no change, if it may not come."""
        if not 0 <= id < len(self._anything):
            raise ValueError(f"id {id} may not come here: it is outside the vocabulary")
        self._begun |= id == self._marker
        if self._begun:
            self._calls.advance(id)

    @property
    def done(self) -> bool:
        """True once eos was taken behind calls: nothing may follow."""
        return self._begun and self._calls.done
