"""Whole or not at all: what is written stands aside, reaches the disk, and only then takes its name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from mistral7b.errors import CheckpointError

PARTIAL = ".partial"  # how the name of what is being written ends
# Files a model folder is made of. Only a folder of nothing else is ever replaced.
MODEL_FILES = (
    "*.safetensors", "*.safetensors.index.json", "params.json", "config.json", "generation_config.json", "mistral7b.json",
    "adapter_config.json",
    "tokenizer.model*", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "manifest.json", "README*", "MODEL_CARD*", "LICENSE*", "NOTICE*",
)  # fmt: skip
PTH = "consolidated.00.pth"  # the weights of the launch, which are read and never written


@contextmanager
def aside(target: Path, *, needs: int, folder: bool, force: bool) -> Iterator[Path]:
    """Yields a path beside `target`, on the same disk, to write one file or (`folder`) one made folder at; takes the name
    `target` when the block ends well, and leaves nothing behind when it does not.

    `needs` is the number of bytes that will be written. Raises CheckpointError if `target` stands in the way (`force`
    replaces a file, or a folder that holds nothing but a model), if the disk has no room for it, and for any OSError of
    the block.
    """
    refuse(target, folder=folder, force=force)
    scratch: Path | None = None
    try:
        if (free := shutil.disk_usage(target.parent).free) < needs:
            raise CheckpointError(f"{target} needs {_size(needs)} and its disk has {_size(free)} free; make room first")
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PARTIAL, dir=target.parent))
        made = scratch / target.name
        if folder:
            made.mkdir()
        yield made
        _sync(made)
        _take_name(made, target, scratch / "replaced")
    except OSError as error:
        free = shutil.disk_usage(target.parent).free
        why = error.strerror or str(error)
        raise CheckpointError(
            f"{target} was not written ({why}): it needs {_size(needs)}, its disk has {_size(free)} free; nothing was left behind"
        ) from None
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path` to write; it reaches the disk and takes the name when the block ends well, or is gone. Raises
    OSError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def is_here(path: Path) -> bool:
    """Whether `path` is the working directory, which no rename can replace."""
    return path.is_dir() and path.samefile(os.curdir)


def refuse(target: Path, *, folder: bool, force: bool) -> None:
    """Raises CheckpointError if `target` stands in the way of `aside`, before there is anything to write."""
    if not target.parent.is_dir():
        raise CheckpointError(f"{target.parent} is not a folder; make it first")
    if not os.path.lexists(target):
        return
    if folder and is_here(target):
        raise CheckpointError(f"{target} is the folder this runs in, which cannot be replaced; name another")
    if target.is_dir() != folder:
        raise CheckpointError(f"{target} is a {'file' if folder else 'folder'}; name a {'folder' if folder else '.gguf file'}")
    held = sorted(path.name for path in target.iterdir()) if folder else [target.name]
    if held and not force:
        raise CheckpointError(f"{target} already exists; choose another name, or pass --force to replace it")
    strangers = [name for name in held if not any(fnmatchcase(name, pattern) for pattern in MODEL_FILES)]
    if folder and strangers:
        raise CheckpointError(f"{target} holds {strangers[0]!r}, which is no part of a model; choose another folder")


def _take_name(made: Path, target: Path, replaced: Path) -> None:
    """Both renames stay in one folder; a reader sees the old target or the new one, for a folder with a blink between."""
    if made.is_dir() and target.is_dir():
        os.rename(target, replaced)
        try:
            os.rename(made, target)
        except OSError:
            os.rename(replaced, target)
            raise
    else:
        os.replace(made, target)
    sync(target.parent)


def _sync(made: Path) -> None:
    for path in [*(made.iterdir() if made.is_dir() else ()), made]:
        sync(path)


def sync(path: Path) -> None:
    """What was written to a file, or the names that a folder holds, reaches the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _size(n_bytes: int) -> str:
    """12.3 GiB, 4.0 MiB: two digits are enough to see what is missing."""
    return f"{n_bytes / 2**30:,.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:,.1f} MiB"
