"""One safetensors file a conversation: `ids`, `k` and `v`, for int8 their scales, and as JSON in its metadata what was said
and with which model.

The window bounds the cache, so past it a file grows by its messages and four bytes a token only. Nothing is unpickled.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mistral7b.checkpoint.aside import aside
from mistral7b.config import said
from mistral7b.conversations.fingerprint import Fingerprint
from mistral7b.conversations.kept import Kept
from mistral7b.errors import CheckpointError, StoreError

CACHE_NAMES = ("k", "v", "k_scales", "v_scales")  # as KVState.held has them; scales only of an int8 cache
_FORMAT, _VERSION = "mistral7b conversation", "1"
_HEADER_ROOM = 4096  # bytes of a header beside its metadata
_ABANDONED_S = 3600.0  # what a killed process left half-written is swept away after that long


def check_place(path: Path) -> None:
    """Raises StoreError, one line, if no conversation can be kept at `path`: to be asked before anything is computed."""
    if path.exists() and not path.is_file():
        raise StoreError(f"{path} is not a file; name a file to keep the conversation in")
    if not path.parent.is_dir():
        raise StoreError(f"{path.parent} is not a folder; make it first")


def save(path: Path, kept: Kept, model: Fingerprint) -> None:
    """Write the conversation, for its owner's eyes only; whoever reads `path` meanwhile gets the one before, whole.

    Raises StoreError if `path` is something else than a conversation, CheckpointError if it cannot be written.
    """
    check_place(path)
    if path.exists():
        with opened(path):
            pass  # it is a conversation: nothing else is ever replaced
    words = json.dumps(
        {
            "messages": list(kept.messages),
            "tools": None if kept.tools is None else list(kept.tools),
            "safe_prompt": kept.safe_prompt,
            "reply_at": kept.reply_at,
            "computed": kept.computed,
            "model": model.to_json(),
        },
        ensure_ascii=False,
    )
    tensors = {"ids": torch.tensor(kept.ids, dtype=torch.int32)}
    if kept.state is not None:
        tensors |= {name: held.contiguous() for name, held in zip(CACHE_NAMES, kept.state.held, strict=False)}
    needs = sum(tensor.nbytes for tensor in tensors.values()) + len(words.encode()) + _HEADER_ROOM
    with aside(path, needs=needs, folder=False, force=True) as made:
        try:
            save_file(tensors, made, metadata={"format": _FORMAT, "version": _VERSION, "conversation": words})
        except SafetensorError as error:  # what the library makes of a full disk
            raise OSError(str(error)) from None
        made.chmod(0o600)  # some versions of the library make it so, others leave it to the umask
    _sweep(path)


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """The tensors of a conversation's file, and what its header says. Raises StoreError for a file that is missing or no
    conversation, CheckpointError for a damaged one and for what the block finds wrong: ValueError, or an error of reading."""
    if not path.exists():
        raise StoreError(f"{path} does not exist; name the file a conversation was kept in")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            header: dict[str, str] = file.metadata() or {}
            _recognise(path, header)
            yield file, header
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        why = said(" ".join(str(error).split()) or type(error).__name__)[1:-1]
        raise CheckpointError(
            f"{path} is no conversation, or a damaged one ({why}); move it away, or name another file"
        ) from None


def _recognise(path: Path, header: dict[str, str]) -> None:
    if header.get("format") != _FORMAT:
        raise StoreError(f"{path} holds tensors, but no conversation; name another file")
    if header.get("version") != _VERSION:
        raise StoreError(
            f"{path} is a conversation of format {said(header.get('version'))}, and this program reads {_VERSION!r}; use the "
            "program that wrote it, or name another file"
        )


def _sweep(path: Path) -> None:
    """Remove what processes that were killed while saving `path` have left beside it."""
    for left in path.parent.glob(f".{_literal(path.name)}.*.partial"):
        if left.is_dir() and time.time() - left.stat().st_mtime > _ABANDONED_S:
            shutil.rmtree(left, ignore_errors=True)


def _literal(name: str) -> str:
    """`name` as a pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
