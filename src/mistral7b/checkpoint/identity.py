"""Which published model this is: by its config, by the sha256 of its files, and by its name, in that order of trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.checkpoint.manifest import FileHash
from mistral7b.tokens.tokenizer import Tokenizer
from mistral7b.variants import TOKENIZER_SHA256, TokenizerVersion, Variant

if TYPE_CHECKING:
    from mistral7b.checkpoint.folder import Checkpoint

_WEIGHTS = (".safetensors", ".pth", ".gguf")
_VERSIONS: tuple[TokenizerVersion, ...] = ("v1", "v3", "v2")  # v2's file is v3's as published with v0.3: it goes by v3


@dataclass(frozen=True, slots=True)
class Identity:
    """`variant` the published model, None for an own one; `faults` the published weight files that are changed here."""

    variant: Variant | None
    detail: str
    faults: tuple[str, ...] = ()


def identify(checkpoint: Checkpoint, files: Mapping[str, FileHash]) -> Identity:
    """Names the model. `files` are the hashes at hand, possibly none.

    Shards of one set that are mostly the published ones convict the rest: that is a damaged copy. Where none is, the file
    names prove nothing, since base, instruct and fine-tunes share them.
    """
    if not checkpoint.candidates:
        return Identity(None, "own model: no published Mistral 7B has this architecture")
    for variant in checkpoint.candidates:
        official = {name: sha for name, sha in variant.sha256.items() if name.endswith(_WEIGHTS) and name in files}
        same = [name for name, sha in official.items() if files[name].sha256 == sha]
        if not same:
            continue
        faults = tuple(f"{name} is not the published file of {variant.name}" for name in official if name not in same)
        if faults:
            return Identity(variant, f"{variant.name} by {len(same)} of {len(official)} weight files: {faults[0]}", faults)
        return Identity(variant, f"{variant.name}: its {len(same)} weight files are the published ones (sha256)")
    shared = " or ".join(variant.name for variant in checkpoint.candidates)
    taken = checkpoint.variant.name if checkpoint.variant is not None else shared
    why = "no official hash of these weights is known" if files else "the hashes were not looked at"
    return Identity(checkpoint.variant, f"architecture of {shared}, taken for {taken} by its name and template; {why}")


def known_tokenizer(sha256: str) -> TokenizerVersion | None:
    """The generation of a tokenizer file by its sha256, as published with the weights or as mistral-common ships it."""
    return next((version for version in _VERSIONS if sha256 in _tokenizer_hashes(version)), None)


def _tokenizer_hashes(version: TokenizerVersion) -> set[str]:
    official = {TOKENIZER_SHA256[version]} if version in TOKENIZER_SHA256 else set()
    return official | {sha256_of(Tokenizer.published(version).path)}
