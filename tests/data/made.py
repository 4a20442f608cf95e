"""Folders of documents and of shards for the tests, in the form that curation and encoding give them."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mistral7b.data.encode import save_shard, write_manifest
from mistral7b.data.shards import SPLITS, Shards

BOS, EOS = 1, 2
Made = Mapping[str, Sequence[Sequence[Sequence[int]]]]  # source -> shards -> documents -> ids


def shards(folder: Path, train: Made, held_out: Made | None = None, *, epochs: float = 1.0, dtype: str = "uint16") -> Shards:
    """Shards of the given ids, which are whole documents already."""
    facts: dict[str, dict[str, object]] = {}
    for name in train:
        facts[name] = {"kind": "prose", "licence": "none", "epochs": epochs}
        for split, made in zip(SPLITS, (train, held_out or {}), strict=True):
            held = made.get(name, [])
            for number, documents in enumerate(held):
                (folder / split / name).mkdir(parents=True, exist_ok=True)
                save_shard(folder / split / name, number, documents, np.dtype(dtype))
            flat = [ids for documents in held for ids in documents]
            facts[name][split] = {"documents": len(flat), "tokens": sum(map(len, flat)), "bytes": sum(map(len, flat))}
    plan = {
        "format": "mistral7b-shards-1",
        "tokenizer": {"sha256": "0" * 64, "vocab_size": 8192, "version": "v3"},
        "dtype": dtype,
        "documents_sha256": "0" * 64,
    }
    write_manifest(folder, plan, facts)
    return Shards.open(folder)


def documents(folder: Path, train: Mapping[str, Sequence[str]], held_out: Mapping[str, Sequence[str]] | None = None) -> Path:
    """A folder of documents; two files a source where it has more than one text."""
    files: dict[str, object] = {}
    sources: dict[str, dict[str, object]] = {}
    for name in train:
        sources[name] = {"kind": "prose", "licence": "CC0-1.0", "epochs": 2.0}
        for split, given in zip(SPLITS, (train, held_out or {}), strict=True):
            texts = list(given.get(name, []))
            sources[name][split] = {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}
            for number, part in enumerate((texts[: len(texts) // 2], texts[len(texts) // 2 :])):
                path = folder / split / name / f"{number:05d}.jsonl.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = "".join(json.dumps({"id": f"{name}-{i}", "text": text}) + "\n" for i, text in enumerate(part))
                put(path, lines.encode())
                files[path.relative_to(folder).as_posix()] = stated(path)
    manifest = {"format": "mistral7b-documents-1", "recipe": {}, "files": files, "sources": sources}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def put(path: Path, raw: bytes) -> None:
    path.write_bytes(gzip.compress(raw, mtime=0))


def stated(path: Path) -> dict[str, object]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}


def restate(folder: Path, name: str) -> None:
    """Lets the manifest of `folder` state the file `name` as it is now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = stated(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def prose(seed: int, count: int) -> list[str]:
    """Made-up texts of one to some sixty words, with what a tokenizer might stumble on in some."""
    dice = random.Random(seed)
    words = ["".join(dice.choices(["ba", "ke", "lo", "mi", "nu", "ra", "so", "ti"], k=dice.randint(1, 3))) for _ in range(80)]
    odd = ["  two", "\n", "é", "日本", "😀", "[INST]", "\t", "1234", "{}"]
    return [" ".join(dice.choices(words, k=dice.randint(1, 60)) + dice.choices(odd, k=dice.randint(0, 2))) for _ in range(count)]
