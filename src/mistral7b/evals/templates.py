"""Templates of lm-eval's configurations, compiled once: lm-eval compiles each anew for every item and every example, which takes
longer than a small model takes to answer."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Mapping
from typing import Any

from lm_eval.utils import env

Doc = Mapping[str, Any]


class Template:
    """Called with a row, it gives what lm-eval makes of `source`: the text, read as `read` says."""

    def __init__(self, source: str, read: Callable[[str], Any]) -> None:
        self.source = source
        self._compiled = env.from_string(source)
        self._read = read

    def __call__(self, doc: Doc) -> Any:
        return self._read(self._compiled.render(**doc))

    def __deepcopy__(self, _: Any) -> Template:
        return self  # lm-eval copies configurations to write them down; jinja's templates cannot be copied

    def __str__(self) -> str:
        return self.source


def compiled(config: Mapping[str, Any], columns: Collection[str]) -> dict[str, Any]:
    """The configuration with its templates compiled. A text that is the name of a column stands for that column and stays."""
    choices = config.get("doc_to_choice") is not None
    readers = {"doc_to_text": _number if choices else str, "doc_to_target": _target(choices), "doc_to_choice": ast.literal_eval}

    def made(held: Mapping[str, Any]) -> dict[str, Any]:
        known = {name: held[name] for name in readers if isinstance(held.get(name), str) and held[name] not in columns}
        return {**held, **{name: Template(source, readers[name]) for name, source in known.items()}}

    shown = config.get("fewshot_config")
    return made(config) | ({"fewshot_config": made(shown)} if shown else {})


def _number(text: str) -> str | int:
    """The place of an answer, where answers can be chosen from."""
    return int(text) if text.isdecimal() else text


def _target(choices: bool) -> Callable[[str], Any]:
    """A place, a text, or a list of texts written as Python writes it."""

    def read(text: str) -> Any:
        if choices and text.isdecimal():
            return int(text)
        if len(text) >= 2 and text[0] == "[" and text[-1] == "]":
            try:
                return ast.literal_eval(text)
            except (SyntaxError, ValueError):
                return text
        return text

    return read
