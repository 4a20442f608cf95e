"""Expected prompts, written out by hand: control tokens by name, texts as they must be encoded, each on its own."""

from __future__ import annotations

from dataclasses import dataclass

from mistral7b.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Control:
    name: str


BOS, EOS = Control("<s>"), Control("</s>")
INST, END_INST = Control("[INST]"), Control("[/INST]")
CALLS = Control("[TOOL_CALLS]")
TOOLS, END_TOOLS = Control("[AVAILABLE_TOOLS]"), Control("[/AVAILABLE_TOOLS]")
RESULTS, END_RESULTS = Control("[TOOL_RESULTS]"), Control("[/TOOL_RESULTS]")


def spelled(tokenizer: Tokenizer, *parts: Control | str) -> list[int]:
    ids: list[int] = []
    for part in parts:
        ids += [tokenizer.control_id(part.name)] if isinstance(part, Control) else tokenizer.encode(part)
    return ids


def pieces(tokenizer: Tokenizer, ids: list[int]) -> str:
    """Names of all pieces in a row: "<s>[INST]▁Hello[/INST]"."""
    return "".join(tokenizer.piece(id) for id in ids)
