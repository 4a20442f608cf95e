"""A SentencePiece file: read, its generation told from its name and its pieces, and refused if it alters text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mistral7b.errors import TokenizerError
from mistral7b.variants import TokenizerVersion

SPACE = "\u2581"  # "▁", how a piece spells a space
UNK_BOS_EOS = (0, 1, 2)
_VERSIONS: tuple[TokenizerVersion, ...] = ("v1", "v2", "v3")
_CONTROLS = (
    "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
)  # fmt: skip
_FIRST_CONTROL = 3  # of v2 and v3; in v1 the bytes start there
_PROBE = "  two  spaces\tand\n\uff46\ufb01 \U0001f600 "  # spaces, compatibility characters and one of four bytes


def named_version(path: Path) -> TokenizerVersion | None:
    """The generation in a name such as tokenizer.model.v3, None without one; TokenizerError for one Mistral 7B never had."""
    suffix = re.search(r"\.model\.(\w+)$", path.name)
    if suffix is None:
        return None
    for version in _VERSIONS:
        if suffix[1] == version:
            return version
    raise TokenizerError(f"{path.name} names generation {suffix[1]}; Mistral 7B has v1, v2 and v3")


def read(path: Path) -> Any:
    """SentencePiece's processor of a file; TokenizerError if it is missing or broken."""
    from sentencepiece import SentencePieceProcessor

    if not path.is_file():
        raise TokenizerError(f"there is no tokenizer file {path}")
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError):
        raise TokenizerError(f"{path} is not a readable SentencePiece file; fetch it again") from None


def held_version(path: Path, processor: Any) -> TokenizerVersion:
    """v1 or v3 by the control pieces in the file; TokenizerError for a layout that is neither."""
    if (processor.unk_id(), processor.bos_id(), processor.eos_id()) != UNK_BOS_EOS:
        raise TokenizerError(f"{path}: <unk>, <s> and </s> must have the ids 0, 1 and 2, as in every Mistral 7B tokenizer")

    def control(name: str) -> int | None:
        found: int = processor.piece_to_id(name)
        return found if processor.is_control(found) else None

    if control("[SYSTEM_PROMPT]") is not None:
        raise TokenizerError(f"{path} is a v7 or later tokenizer; Mistral 7B has v1, v2 and v3")
    held = [control(name) for name in _CONTROLS]
    if held == list(range(_FIRST_CONTROL, _FIRST_CONTROL + len(_CONTROLS))):
        return "v3"
    if any(id is not None for id in held):
        raise TokenizerError(f"{path}: the control pieces {_CONTROLS[0]} to {_CONTROLS[-1]} must have the ids 3 to 9")
    return "v1"


def check_reversible(path: Path, processor: Any) -> None:
    """Refuse files that change text: templates and streaming rely on one space put before a text, and on nothing else."""
    ids = processor.encode(_PROBE)
    if processor.decode(ids) != _PROBE or not processor.id_to_piece(processor.encode("a")[0]).startswith(SPACE):
        raise TokenizerError(
            f"{path} does not give text back unchanged, as Mistral's do; train with byte_fallback=True, "
            "normalization_rule_name='identity', remove_extra_whitespaces=False and add_dummy_prefix=True"
        )
