"""What a hub repository offers, and the one set of files worth fetching from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mistral7b.checkpoint import configs, consolidated, hf, quantized
from mistral7b.checkpoint.aside import MODEL_FILES
from mistral7b.errors import StoreError

_COMPANIONS = tuple(pattern for pattern in MODEL_FILES if "safetensors" not in pattern)
_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository: `size` in bytes, `sha256` of what is stored with Git LFS, `blob_id` Git's sha1 of the rest."""

    name: str
    size: int
    sha256: str | None
    blob_id: str

    @property
    def etag(self) -> str:
        """The name the hub's cache files it under."""
        return self.sha256 or self.blob_id


def choose(hub_id: str, files: Sequence[RemoteFile], have: Collection[str] = ()) -> list[RemoteFile]:
    """The weights in one format, with configs, tokenizer and licence; never a pickle. Smallest first.

    consolidated.safetensors comes before HF shards, which are read through a permutation, and both before what was quantised of
    them, unless `have` (names already on this disk) holds one of the others. Raises StoreError for a repository that has none.
    """
    by_name = {file.name: file for file in files}
    formats = [names for names in (_consolidated(by_name), _hf(by_name), _quantized(by_name)) if names]
    if not formats:
        raise StoreError(_why_not(hub_id, by_name))
    weights = next((names for names in formats if names <= set(have)), formats[0])
    small = {name for name in by_name if any(fnmatchcase(name, pattern) for pattern in _COMPANIONS)}
    return sorted((by_name[name] for name in weights | small), key=lambda file: (file.size, file.name))


def _consolidated(names: Collection[str]) -> set[str]:
    wanted = {consolidated.SINGLE, configs.PARAMS}
    return {consolidated.SINGLE} if wanted <= set(names) else set()


def _hf(names: Collection[str]) -> set[str]:
    if configs.HF not in names:
        return set()
    if hf.SINGLE in names:
        return {hf.SINGLE}
    shards = {name: match for name in names if (match := _SHARD.fullmatch(name))}
    totals = {int(match[2]) for match in shards.values()}
    whole = len(totals) == 1 and {int(match[1]) for match in shards.values()} == set(range(1, totals.pop() + 1))
    return {hf.INDEX, *shards} if whole and hf.INDEX in names else set()


def _quantized(names: Collection[str]) -> set[str]:
    return {quantized.SINGLE} if {quantized.SINGLE, configs.HF} <= set(names) else set()


def _why_not(hub_id: str, names: Collection[str]) -> str:
    wanted = f"{consolidated.SINGLE} with {configs.PARAMS}, or model safetensors with {configs.HF}"
    if ggufs := sorted(name for name in names if name.endswith(".gguf")):
        return f"{hub_id} holds GGUF files ({ggufs[0]}) and no {wanted}; download one of them and pass its path"
    if any(name.endswith((".bin", ".pth", ".pt")) for name in names):
        return f"{hub_id} holds its weights as pickles only, which are not fetched; name a repository with safetensors"
    return f"{hub_id} holds no {wanted}: it is no Mistral 7B that can be read, or its upload is incomplete"
