"""One JSON value in a text that is still growing: where it ends, and what it says."""

from __future__ import annotations

import json

from mistral7b.tokens.calls import json_object

WHITE = " \t\n\r"


class Extent:
    """Where a JSON value ends that begins with `first`: at the bracket or quote that closes it, or else before what follows."""

    def __init__(self, first: str) -> None:
        self.ended = False
        self._bare = first not in '"[{'  # a number, true, false or null
        self._depth = 0
        self._quoted = self._escaped = False

    def holds(self, character: str) -> bool:
        """True if `character`, the next one, belongs to the value, which it may end."""
        if self._bare:
            self.ended = character in WHITE + ",]}"
            return not self.ended
        if self._escaped:
            self._escaped = False
        elif self._quoted:
            self._escaped, self._quoted = character == "\\", character != '"'
        elif character == '"':
            self._quoted = True
        elif character in "[{":
            self._depth += 1
        elif character in "]}":
            self._depth -= 1
        self.ended = not (self._quoted or self._depth)
        return True


def load(text: str) -> object:
    """The JSON value `text` spells; ValueError for none, and for an escaped lone surrogate, which nobody could send on."""
    found = json_object(f'{{"value": {text}}}')
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        found = None
    if found is None:
        raise ValueError("the text is not JSON that can be sent on")
    return found["value"]
