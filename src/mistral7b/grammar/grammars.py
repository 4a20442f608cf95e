"""Grammars: from what a request asks for to a constraint the engine can follow, compiled once and kept for the next."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from mistral7b.errors import ChatError, RequestError
from mistral7b.grammar.calls import OptionalCalls, lark, read_functions
from mistral7b.grammar.matcher import GrammarConstraint, reason
from mistral7b.grammar.sources import source
from mistral7b.grammar.vocabulary import Vocabulary
from mistral7b.tokens.structured import StructuredOutput
from mistral7b.tokens.tokenizer import Tokenizer

# A step of a grammar stays in the milliseconds, and a constraint's memory in tens of MB, whatever a stranger sends.
_LIMITS = LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=500_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=20_000,
    max_grammar_size=200_000,
    precompute_large_lexemes=False,
    verbose_errors=False,  # a message quotes no more of a request than the place of its mistake
)


@dataclass(frozen=True)
class _Compiled:
    """`matcher` in its first state, to be copied; `empty`: the text may end before it begins."""

    matcher: LLMatcher
    empty: bool


class Grammars:
    """Constraints over one tokenizer's ids. Safe to call from any thread; the `kept` grammars last used stay compiled.

    A reply's text begins behind a control id or at the beginning of all, where SentencePiece spells a space and the
    detokenizer drops it again. So that the user's text is what the grammar says, a reply is held to that space and then the
    grammar; a completion that goes on with other text is held to the grammar alone.
    """

    def __init__(self, tokenizer: Tokenizer, *, kept: int = 64) -> None:
        self._tokenizer = tokenizer
        vocabulary = Vocabulary(tokenizer)
        self._space_byte = vocabulary.space_byte_id
        self._ll = vocabulary.build()
        self._kept = kept
        self._compiled: OrderedDict[str, _Compiled] = OrderedDict()
        self._lock = Lock()

    def constraint(self, spec: StructuredOutput, *, reply: bool = True) -> GrammarConstraint:
        """A constraint at its beginning. `reply`: the text is one of its own (Detokenizer with empty prompt_ids), not the
        continuation of a prompt's. RequestError, one line, for what cannot be compiled or is too complex."""
        try:
            grammars = [{"name": "text", **source(spec)}]
            if reply:
                grammars.insert(0, {"name": "reply", "lark_grammar": 'start: " " @text'})
            return self._begin(json.dumps({"grammars": grammars}), reply=reply)
        except RequestError as error:
            raise RequestError(f"response_format {spec.kind}: {error}") from None

    def calls(
        self, tools: list[dict[str, Any]], *, name: str | None = None, required: bool, parallel: bool
    ) -> GrammarConstraint | OptionalCalls:
        """A constraint of a reply that calls `tools` (OpenAI shape): only `name` if given, exactly one call unless `parallel`.

        Unless `required`, the model may also answer in text: only from the id [TOOL_CALLS] on is anything constrained.
        Arguments fit the tool's parameters, compact but for the spaces the template has. Raises ChatError for a tokenizer
        without tools (v1) or a malformed tool, RequestError for a schema that cannot be compiled.
        """
        if self._tokenizer.version == "v1":
            raise ChatError("this model's v1 template has no tools; send none, or use a v0.3 model")
        functions = read_functions(tools, name)
        marker = self._tokenizer.control_id("[TOOL_CALLS]")
        grammar = lark(functions, marker=marker, parallel=parallel, ids=self._tokenizer.version == "v3")
        try:
            calls = self._begin(json.dumps({"grammars": [{"lark_grammar": grammar}]}), reply=False)
        except RequestError as error:
            raise RequestError(f"{self._culprit(functions)}: {error}") from None
        return calls if required else OptionalCalls(calls, vocab_size=self._tokenizer.vocab_size, marker=marker)

    def _culprit(self, functions: dict[str, dict[str, Any]]) -> str:
        """The tool to name in an error: the first whose own schema does not compile."""
        for name, schema in functions.items():
            grammar = LLMatcher.grammar_from_json_schema(schema)
            if LLMatcher.validate_grammar(grammar, self._ll, limits=_LIMITS):
                return f"tool {name!r}"
        return "tools"

    def _begin(self, grammar: str, *, reply: bool) -> GrammarConstraint:
        with self._lock:
            compiled = self._compiled.get(grammar)
        if compiled is None:  # outside the lock, so that one large grammar delays no other request
            compiled = self._compile(grammar, reply=reply)
        with self._lock:
            self._compiled[grammar] = compiled
            self._compiled.move_to_end(grammar)
            if len(self._compiled) > self._kept:
                self._compiled.popitem(last=False)
            matcher = compiled.matcher.deep_copy()
        barred = (self._space_byte,) if reply else ()
        return GrammarConstraint(matcher, self._tokenizer.vocab_size, self._tokenizer.eos_id, barred=barred, empty=compiled.empty)

    def _compile(self, grammar: str, *, reply: bool) -> _Compiled:
        matcher = LLMatcher(self._ll, grammar, log_level=0, limits=_LIMITS)
        _try(matcher)  # the copies find the work done
        ahead = matcher.deep_copy()
        if reply:
            ahead.consume_token(self._space_byte)
            _try(ahead)
        return _Compiled(matcher, empty=reply and ahead.is_accepting())


def _try(matcher: LLMatcher) -> None:
    """Compute a first mask: much of what is too complex shows there, and is better refused than broken off."""
    if not matcher.is_error():
        matcher.compute_bitmask()
    if matcher.is_error():
        raise RequestError(reason(matcher.get_error()))
