"""What goes along when a model is written anew: tokenizer, model card, licence, and the facts no config of the target holds."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mistral7b.checkpoint.configs import OWN, own_facts
from mistral7b.checkpoint.folder import Checkpoint
from mistral7b.checkpoint.write import write_json

_POSITIONS = 32_768  # what every published model is configured for (FACTS 3.1)
# What makes a model folder a model to its user, beside weights and configs.
_TOKENIZER = (
    "tokenizer.model*", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja",
)  # fmt: skip
_CARD = "README.md"
_OTHERS = ("generation_config.json", OWN, "README*", "MODEL_CARD*", "LICENSE*", "NOTICE*")


def positions_of(checkpoint: Checkpoint) -> int:
    """The context to state in a config, in tokens."""
    return checkpoint.max_positions or checkpoint.trained_context or _POSITIONS


@dataclass(frozen=True)
class Changed:
    """How the weights differ from the source's: facts for mistral7b.json, and a sentence for the head of the model card."""

    facts: Mapping[str, object]
    sentence: str


def write_companions(made: Path, checkpoint: Checkpoint, changed: Changed | None = None, *, packed: bool = False) -> None:
    """Copies them from `checkpoint` into the folder `made`, whose weights may be `packed`, and tells what `changed`.

    Raises OSError. A tokenizer that is not the folder's own goes in place of all that the folder has about tokens.
    """
    folder, tokenizer = checkpoint.path, checkpoint.tokenizer
    replaced = tokenizer is not None and tokenizer.parent != folder
    if folder.is_dir():
        for pattern in _OTHERS if replaced else _TOKENIZER + _OTHERS:
            for path in folder.glob(pattern):
                if path.is_file():
                    shutil.copyfile(path, made / path.name)
    if tokenizer is not None and replaced:
        # Whatever its file was called, the folder's loader looks for these names: tokenizer.model.v1, .v3.
        shutil.copyfile(tokenizer, made / f"tokenizer.model{tokenizer.suffix}")
    contexts = {"trained_context": checkpoint.trained_context, "max_positions": checkpoint.max_positions}
    copied = own_facts(made)
    held = dict(copied)
    if not packed and "quantization" in held:
        held["unpacked_from"] = held.pop("quantization")
    # An own model's contexts: no other file of the target holds them (params.json has no place).
    facts: dict[str, object] = {} if checkpoint.extended_from is None else {"extended_from": checkpoint.extended_from}
    facts |= {} if checkpoint.variant is not None else {name: value for name, value in contexts.items() if value is not None}
    if (together := facts | held | dict(changed.facts if changed else {})) != copied:
        write_json(made / OWN, together)
    if changed is not None and (made / _CARD).is_file():
        open_card(made / _CARD, changed.sentence)


def open_card(card: Path, sentence: str) -> None:
    """Puts a sentence before the text of a model card, after its byte order mark and front matter; UTF-16 is left alone."""
    text = card.read_bytes()
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    front = re.match(rb"(?:\xef\xbb\xbf)?(?:---[ \t]*\r?\n(?:.*?\n)??---[ \t]*(?:\r?\n|\Z))?", text, re.DOTALL)
    assert front is not None
    head = front[0] if front[0].endswith(b"\n") or b"---" not in front[0] else front[0] + b"\n"
    card.write_bytes(head + f"> {sentence}\n\n".encode() + text[front.end() :])
