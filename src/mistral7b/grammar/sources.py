"""What a request asks for in llguidance's own words: a JSON schema, or a grammar in Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import any_to_lark

from mistral7b.errors import RequestError
from mistral7b.grammar.matcher import reason
from mistral7b.grammar.schemas import MAX_BYTES, prepare
from mistral7b.grammar.sizes import check_lark, check_regex
from mistral7b.tokens.structured import StructuredOutput

# What may hide the characters %json in a grammar: a string, a regex, a comment. Then the keyword itself.
_SCHEMA = re.compile(r'"(?:\\.|[^"\\\n])*"|(?://|\#)[^\n]*|/(?:\\.|[^/\\\n])+/|(?P<json>%json\s*)')


def source(spec: StructuredOutput) -> dict[str, Any]:
    """`spec` as one grammar of llguidance's list; RequestError, one line, for what cannot be kept or is too large."""
    value = spec.value
    if spec.kind == "json_object":
        return {"json_schema": prepare({"type": "object"}, item_separator=",", key_separator=":")}
    if spec.kind == "json_schema":
        assert isinstance(value, Mapping)
        return {"json_schema": prepare(value, item_separator=",", key_separator=":")}
    if spec.kind == "choice":
        assert isinstance(value, list | tuple)
        texts = list(value)
    else:
        assert isinstance(value, str)
        texts = [value]
    if sum(len(text) for text in texts) > MAX_BYTES:
        raise RequestError(f"it is too long; at most {MAX_BYTES:,} characters are taken")
    if spec.kind == "choice":
        return {"lark_grammar": "start: " + " | ".join(_quoted(text) for text in texts)}
    if spec.kind == "regex":
        check_regex(texts[0])
        return {"lark_grammar": json.loads(LLMatcher.grammar_from_regex(texts[0]))["grammars"][0]["lark_grammar"]}
    text = _as_lark(texts[0])
    check_lark(text)
    return {"lark_grammar": text}


def _quoted(text: str) -> str:
    """`text` as a string of Lark, which is one of JSON that leaves no control character as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _as_lark(text: str) -> str:
    """GBNF (rules written ::=) turned into Lark; Lark as it is, its schemas checked and made compact like any other."""
    if "::=" in text:
        try:
            text = any_to_lark(text)
        except Exception as error:  # noqa: BLE001  # the converter raises bare exceptions, IndexError and RecursionError
            raise RequestError(f"it is no GBNF that can be converted to Lark: {reason(str(error))}") from None
    return _with_schemas(text)


def _with_schemas(lark: str) -> str:
    parts, at = [], 0
    while at < len(lark):
        token = _SCHEMA.search(lark, at)
        if token is None:
            break
        parts.append(lark[at : token.end()])
        at = token.end()
        if token["json"]:
            try:
                schema, at = json.JSONDecoder().raw_decode(lark, at)
            except (ValueError, RecursionError) as error:
                raise RequestError(f"no JSON follows %json: {error}") from None
            if not isinstance(schema, dict):
                raise RequestError("%json takes a schema that is a JSON object")
            parts.append(json.dumps(prepare(schema, item_separator=",", key_separator=":")))
    return "".join([*parts, lark[at:]])
