"""What the store has already, held against what is asked for now."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from mistral7b.checkpoint.manifest import hash_files
from mistral7b.errors import ReleaseError
from mistral7b.release.blobs import Kept, Store
from mistral7b.release.check import Checked, Claim, check_claim
from mistral7b.release.sources import Source


def find_stored(store: Store, source: Source, only: tuple[str, ...]) -> Kept | None:
    """The model that came from `source`; None also where that is not what the source's hash says it should be."""
    kept = store.model(source.key(only))
    if kept is None or kept.identity != source.identity(only) or not _is_as_stated(kept, source):
        return None
    return kept


def check_stored(kept: Kept, claim: Claim, *, again: bool, read: Callable[[int], None]) -> Checked:
    """The checks of a model of the store against `claim`; with `again` its bytes are read, and `read` is told how many, else
    those that passed say that it was on arrival. Raises ReleaseError for what differs, or was changed since."""
    if again:
        found = hash_files([kept.folder / name for name in kept.files], read)
        if changed := [name for name, file in kept.files.items() if found[name] != file]:
            raise ReleaseError(
                f"{changed[0]} in {kept.folder} was changed since it came; run `mistral7b download {kept.key} --prune`, then "
                "fetch it again"
            )
    checked = check_claim(kept.folder, dict(kept.files), claim)
    checks = kept.checks[:1] + checked.checks
    if not again:
        checks = tuple(
            replace(check, detail=f"{check.detail}, as checked on arrival") if check.status == "pass" else check
            for check in checks
        )
    return replace(checked, checks=checks)


def _is_as_stated(kept: Kept, source: Source) -> bool:
    algorithm, digest = source.stated.algorithm, source.stated.digest
    if digest is None:
        return True
    if source.kind == "tar":  # which is gone, but not what was found out about it
        return bool(kept.checks) and kept.checks[0].detail.endswith(f": {algorithm} {digest}, as stated")
    torrent = kept.folder.with_name(f"{kept.key}.torrent")
    path = torrent if source.kind == "torrent" else kept.folder / urlsplit(source.link).path.rsplit("/", 1)[-1]
    if path.name in kept.files and algorithm == "sha256":
        return kept.files[path.name].sha256 == digest
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest() == digest
