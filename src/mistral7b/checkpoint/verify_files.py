"""The checks of `verify` that look at files: hashes against a manifest, the tokenizer, and which formats stand there."""

from __future__ import annotations

from pathlib import Path

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.checkpoint.folder import Checkpoint
from mistral7b.checkpoint.formats import standing
from mistral7b.checkpoint.identity import known_tokenizer
from mistral7b.checkpoint.manifest import MANIFEST, FileHash, compare, hash_files, model_files, read_manifest
from mistral7b.checkpoint.pairing import settle
from mistral7b.checkpoint.report import Check
from mistral7b.errors import MismatchError, TokenizerError
from mistral7b.tokens.tokenizer import Tokenizer


def files_of(path: Path) -> list[Path]:
    """The files that are the model at `path`: of a folder those that belong to a model, or the one file."""
    if path.is_dir():
        return model_files(path)
    return [path] if path.is_file() else []


def check_hashes(path: Path, files: dict[str, FileHash], given: Path | None, *, wanted: bool) -> Check:
    """The check "hashes": the hashed `files` against the manifest `given`, or the one beside them.

    Raises CheckpointError for a manifest that cannot be read.
    """
    if not wanted:
        return Check("hashes", "skip", "not asked for")
    folder = path if path.is_dir() else path.parent
    manifest = given or folder / MANIFEST
    if given is None and not manifest.is_file():
        return Check("hashes", "skip", f"{len(files)} files hashed; there is no {MANIFEST} to hold them against")
    stated = read_manifest(manifest)
    if path.is_dir():
        # A manifest may list files that mean nothing to us; they are part of what was signed off.
        files = files | hash_files([folder / name for name in stated if name not in files and (folder / name).is_file()])
    elif path.name in stated:
        stated = {path.name: stated[path.name]}
    else:
        return Check("hashes", "fail" if given else "skip", f"{manifest.name} does not list {path.name}")
    faults = compare(stated, files)
    if faults:
        more = f"; and {len(faults) - 1} more: {', '.join(fault.split()[0] for fault in faults[1:])}" if faults[1:] else ""
        return Check("hashes", "fail", f"{faults[0]}{more}; fetch it again")
    strangers = sorted(files.keys() - stated.keys())
    unlisted = f"; not in it: {', '.join(strangers)}" if strangers else ""
    return Check("hashes", "pass", f"{len(stated)} files are as {manifest.name} states{unlisted}")


def check_tokenizer(checkpoint: Checkpoint, *, force: bool) -> Check:
    """The check "tokenizer": as many ids as the model, and for a published architecture a published file."""
    if checkpoint.tokenizer is None:
        return Check("tokenizer", "skip", "the model has none: it works on token ids only")
    found = []
    try:
        tokenizer = Tokenizer.load(checkpoint.tokenizer)
        ids, rows = tokenizer.vocab_size, checkpoint.config.vocab_size
        if ids != rows:
            found.append(f"the tokenizer knows {ids} ids, the model {rows}: one belongs to another model")
        version = known_tokenizer(sha256_of(tokenizer.path))
        what = f"the published {version} file" if version is not None else f"a {tokenizer.version} tokenizer of its own"
        # What a GGUF carries is rebuilt into a file of ours, which only its contents can be held against.
        if version is None and checkpoint.candidates and checkpoint.format != "gguf" and ids == rows:
            found.append(f"{tokenizer.path.name} is not a published tokenizer, though the architecture is")
        forced = settle(found, force=force)
    except (TokenizerError, MismatchError) as error:
        return Check("tokenizer", "fail", str(error))
    except OSError as error:
        return Check("tokenizer", "fail", f"{checkpoint.tokenizer} cannot be read: {error.strerror or error}")
    return Check("tokenizer", "pass", "; ".join([f"{tokenizer.path.name}: {ids:,} ids, {what}", *forced]))


def check_formats(path: Path) -> Check:
    """The check "formats": whether the weights stand there more than once."""
    if not path.is_dir():
        return Check("formats", "pass" if path.is_file() else "skip", "one file" if path.is_file() else "nothing is there")
    found = list(standing(path).values()) + [file.name for file in sorted(path.glob("*.gguf"))]
    if not found:
        return Check("formats", "skip", "the folder holds no weights")
    if len(found) == 1:
        return Check("formats", "pass", f"the weights stand there once, as {found[0]}")
    return Check("formats", "pass", f"the weights stand there {len(found)} times, as {', '.join(found)}: one is enough")
