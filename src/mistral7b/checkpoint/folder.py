"""Checkpoint: a model on disk, recognised from its headers and configs before any weight is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from mistral7b.checkpoint import pairing
from mistral7b.checkpoint.configs import DEFAULT_EOS, read_configs, read_object
from mistral7b.checkpoint.consolidated import ConsolidatedSource
from mistral7b.checkpoint.formats import Format, choose, config_first, standing
from mistral7b.checkpoint.hf import HfSource
from mistral7b.checkpoint.pth import PthSource
from mistral7b.checkpoint.quantized import QuantizedSource
from mistral7b.checkpoint.source import TensorSource
from mistral7b.checkpoint.source import check as check_tensors
from mistral7b.config import ModelConfig, said
from mistral7b.errors import CheckpointError, ConfigError
from mistral7b.tokens.tokenizer import find_tokenizer
from mistral7b.variants import Variant, matching

_EMBEDDINGS = "tok_embeddings.weight"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A recognised model. `path` is a folder, or a file if `format` is "gguf".

    `variant` is the published model its architecture is that of (None: an own model), picked from `candidates` by what
    names say. `max_positions` is the configured context, `trained_context` the length it was trained at, both in tokens.
    `eos_ids` are the tokens that end a reply; ConfigError for one that the vocabulary does not have. `extended_from` is the
    vocabulary it had before it was extended (see `vocabulary`).
    `notes` tell in one line each what was read and what was chosen.
    """

    path: Path
    format: Format
    config: ModelConfig
    variant: Variant | None
    tokenizer: Path | None
    max_positions: int | None
    trained_context: int | None
    eos_ids: tuple[int, ...] = DEFAULT_EOS
    extended_from: int | None = None
    candidates: list[Variant] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for token in self.eos_ids:
            if token >= self.config.vocab_size:
                known = f"the vocabulary of {self.config.vocab_size:,} ids"
                raise ConfigError(f"eos_token_id {said(token)} is outside {known}; correct it in the configs of {self.path}")


def open_checkpoint(path: Path, *, force: bool = False) -> Checkpoint:
    """Recognises a model folder or a .gguf file; reads headers and configs only.

    Raises CheckpointError for a path that is no model or has damaged headers, ConfigError for a bad config, MismatchError
    for parts that contradict each other; with `force` contradictions become notes, and the embedding rows set the vocabulary.
    """
    if path.is_dir() and not standing(path) and len(ggufs := sorted(path.glob("*.gguf"))) == 1:
        path = ggufs[0]
    if path.is_file():
        return _open_gguf(path, force=force)
    if not path.is_dir():
        raise CheckpointError(f"{path} does not exist; give a model folder or a .gguf file")
    return _open_folder(path, force=force)


def open_source(checkpoint: Checkpoint, *, mapped: bool = True) -> TensorSource:
    """The weights of a checkpoint, held against its config. With `mapped=False` each tensor read is a copy in memory.

    Raises CheckpointError for damaged files and for missing, unexpected or wrongly shaped tensors.
    """
    source = _source(checkpoint.path, checkpoint.format, checkpoint.config, mapped=mapped)
    try:
        check_tensors(source, checkpoint.config)
    except CheckpointError:
        source.close()
        raise
    return source


def resolve_variant(config: ModelConfig, folder: Path, hub_name: str | None) -> tuple[Variant | None, list[Variant]]:
    """(The published model this architecture is, all that share it); base or instruct by names, then by a chat template."""
    candidates = matching(config)
    if not candidates:
        return None, []
    instruct = _named_instruct(folder, hub_name)
    return next((v for v in candidates if v.instruct == instruct), candidates[0]), candidates


def _open_folder(folder: Path, *, force: bool) -> Checkpoint:
    kind, notes = choose(folder)
    read = read_configs(folder, first=config_first(kind), force=force)
    config = read.config
    with _source(folder, kind, config, mapped=True) as source:
        shape = source.shape(_EMBEDDINGS) if _EMBEDDINGS in source.names() else ()
    rows = shape[0] if len(shape) == 2 else None
    notes += read.notes + pairing.check(config, embedding_rows=rows, extended_from=read.extended_from, force=force)
    if rows is not None:
        config = replace(config, vocab_size=rows)
    if kind == "quantized":
        with QuantizedSource(folder, config) as packed:
            notes.append(f"quantised: {packed.describe()}")
    variant, candidates = resolve_variant(config, folder, read.hub_name)
    return Checkpoint(
        path=folder,
        format=kind,
        config=config,
        variant=variant,
        candidates=candidates,
        tokenizer=find_tokenizer(folder),
        max_positions=read.max_positions or (variant.max_positions if variant else None),
        trained_context=read.trained_context or (variant.trained_context if variant else None),
        eos_ids=read.eos_ids,
        extended_from=read.extended_from,
        notes=[*notes, _variant_note(variant, candidates)],
    )


def _open_gguf(path: Path, *, force: bool) -> Checkpoint:
    if path.suffix != ".gguf":
        raise CheckpointError(f"{path} is a file; give the model folder it stands in, or a .gguf file")
    from mistral7b.checkpoint.gguf import open_gguf

    checkpoint = open_gguf(path)
    return replace(checkpoint, notes=checkpoint.notes + pairing.check(checkpoint.config, force=force))


def _source(path: Path, kind: Format, config: ModelConfig, *, mapped: bool) -> TensorSource:
    match kind:
        case "hf":
            return HfSource(path, config, mapped=mapped)
        case "consolidated":
            return ConsolidatedSource(path, mapped=mapped)
        case "pth":
            return PthSource(path, mapped=mapped)
        case "quantized":
            return QuantizedSource(path, config, mapped=mapped)
        case "gguf":
            from mistral7b.checkpoint.gguf import GgufSource

            return GgufSource(path, mapped=mapped)


def _named_instruct(folder: Path, hub_name: str | None) -> bool:
    # A hub cache keeps the model's name two folders up, and links that `resolve` would follow. The folders above count only
    # where they name a 7B: any other name up there may be about anything.
    own, *above = reversed(folder.absolute().parts[-3:])
    for name in [own.lower(), (hub_name or "").lower(), *(part.lower() for part in above if "7b" in part.lower())]:
        if "instruct" in name:
            return True
        if re.search(r"7b[-_.]?v0", name):
            return False
    settings = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").is_file() or (settings.is_file() and "chat_template" in read_object(settings))


def _variant_note(variant: Variant | None, candidates: list[Variant]) -> str:
    if variant is None:
        return "architecture of no published Mistral 7B: an own model"
    others = ", ".join(v.name for v in candidates if v is not variant)
    return f"architecture of {variant.name} (shared with {others}; only the weights tell them apart)"
