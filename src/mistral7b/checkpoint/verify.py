"""verify: everything that can be said about a model on disk without running it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mistral7b.checkpoint.configs import training_facts
from mistral7b.checkpoint.finite import scan
from mistral7b.checkpoint.folder import Checkpoint, open_checkpoint, open_source
from mistral7b.checkpoint.identity import identify
from mistral7b.checkpoint.manifest import FileHash, hash_files
from mistral7b.checkpoint.report import Check, Report
from mistral7b.checkpoint.source import TensorSource
from mistral7b.checkpoint.verify_files import check_formats, check_hashes, check_tokenizer, files_of
from mistral7b.errors import CheckpointError, Mistral7BError, TokenizerError

Progress = Callable[[str, int, int], None]  # (check, bytes read, bytes in all)

CHECKS = ("config", "variant", "tokenizer", "tensors", "finite", "hashes", "formats")


def verify(
    path: Path,
    *,
    force: bool = False,
    manifest: Path | None = None,
    hashes: bool = True,
    progress: Progress | None = None,
) -> Report:
    """Checks the model at `path`, a folder or a .gguf file, and never raises for what is wrong with it.

    config (what was read: theta, window, origin), variant (which published model the weights are), tokenizer (vocabulary,
    published file or not), tensors (all names and shapes), finite (no NaN, no Inf), hashes (against `manifest`, or the
    manifest.json beside the model), formats (what else stands there). A check that cannot be made because another failed is
    skipped; without `hashes` no file is hashed. With `force` contradictions pass and are noted. The report names files
    without their folders.
    """
    checkpoint, opened = _open(path, force)
    checks = [opened]
    files: dict[str, FileHash] = {}
    try:
        if hashes:
            paths = files_of(path)
            files = hash_files(paths, _meter(progress, "hashes", sum(file.stat().st_size for file in paths)))
        checks.append(check_hashes(path, files, manifest, wanted=hashes))
    except (CheckpointError, OSError) as error:
        checks.append(Check("hashes", "fail", str(error)))
    variant, dtypes = None, dict[str, int]()
    if checkpoint is not None:
        identity = identify(checkpoint, files)
        variant = identity.variant.name if identity.variant is not None else None
        checks.append(Check("variant", "fail" if identity.faults else "pass", identity.detail))
        checks.append(check_tokenizer(checkpoint, force=force))
        checks += _tensors(checkpoint, dtypes, progress)
    checks.append(check_formats(path))
    bare = _without_paths(path, manifest, checkpoint.tokenizer if checkpoint is not None else None)
    return Report(
        name=path.resolve().name,
        checks=tuple(replace(check, detail=bare(check.detail)) for check in _in_order(checks)),
        config=checkpoint.config if checkpoint is not None else None,
        variant=variant,
        dtypes=dtypes,
        files=files,
        training=training_facts(path),
        notes=tuple(bare(note) for note in checkpoint.notes) if checkpoint is not None else (),
    )


def _without_paths(*paths: Path | None) -> Callable[[str], str]:
    """Shortens these paths, and those of files beside or in them, to bare names: a report is made to be passed on."""
    given = [form for path in paths if path is not None for form in (path, path.resolve())]
    cuts = {str(path): path.name for path in given} | {f"{folder}/": "" for path in given for folder in (path, path.parent)}
    longest_first = sorted((cut for cut in cuts if "/" in cut.rstrip("/")), key=len, reverse=True)

    def bare(text: str) -> str:
        for cut in longest_first:
            text = text.replace(cut, cuts[cut])
        return text

    return bare


def _open(path: Path, force: bool) -> tuple[Checkpoint | None, Check]:
    """The recognised model, and the check "config", or the one that the fault belongs to."""
    try:
        checkpoint = open_checkpoint(path, force=force)
    except CheckpointError as error:
        return None, Check("tensors", "fail", str(error))
    except TokenizerError as error:
        return None, Check("tokenizer", "fail", str(error))
    except Mistral7BError as error:
        return None, Check("config", "fail", str(error))
    read = [note for note in checkpoint.notes if note.startswith(("read ", "rope_theta ", "forced: "))]
    return checkpoint, Check("config", "pass", "; ".join(read))


def _tensors(checkpoint: Checkpoint, dtypes: dict[str, int], progress: Progress | None) -> list[Check]:
    """The checks "tensors" and "finite"; `dtypes` receives how many tensors are stored in each type."""
    checks: list[Check] = []
    try:
        with open_source(checkpoint, mapped=False) as source:
            names = source.names()
            dtypes |= Counter(_kind(source, name) for name in names)
            stored = ", ".join(f"{n} {kind}" for kind, n in dtypes.items())
            checks.append(Check("tensors", "pass", f"all {len(names)} tensors in the shapes the config asks for: {stored}"))
            checks.append(_finite(source, progress))
    except CheckpointError as error:
        checks.append(Check("finite" if checks else "tensors", "fail", str(error)))
    return checks


def _kind(source: TensorSource, name: str) -> str:
    """How a tensor is stored: "int4", "bfloat16"; what the program can only decode goes by the type it is decoded into."""
    form = source.packed_format(name)
    return form.name if form is not None else str(source.dtype(name)).removeprefix("torch.")


def _finite(source: TensorSource, progress: Progress | None) -> Check:
    sizes = [math.prod(source.shape(name)) * source.dtype(name).itemsize for name in source.names()]
    bad = scan(source, _meter(progress, "finite", sum(sizes)))
    if not bad:
        return Check("finite", "pass", "every weight is a finite number")
    first = bad[0]
    others = f"; {len(bad) - 1} more tensors are not finite" if len(bad) > 1 else ""
    return Check("finite", "fail", f"{first.name} holds {first.nan} NaN and {first.inf} Inf of {first.total:,} weights{others}")


def _in_order(checks: list[Check]) -> tuple[Check, ...]:
    """One check a name of CHECKS; those that were not made are skipped because of the first that failed."""
    made = {check.name: check for check in checks}
    failed = next((name for name in CHECKS if name in made and made[name].status == "fail"), None)
    return tuple(made.get(name) or Check(name, "skip", f"not checked, because {failed} failed") for name in CHECKS)


def _meter(progress: Progress | None, check: str, total: int) -> Callable[[int], None]:
    done = 0

    def read(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress is not None:
            progress(check, done, total)

    return read
