"""A release from a plain web server: manifest.json first, then what it lists and is not here yet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from mistral7b.checkpoint.digest import sha256_of
from mistral7b.checkpoint.manifest import MANIFEST, FileHash, read_manifest
from mistral7b.errors import CheckpointError, ReleaseError, StoreError
from mistral7b.release.check import Claim
from mistral7b.release.http import Stated, forget, get, get_small
from mistral7b.release.inspect import SIGNATURE, check_files

Take = Callable[[str, Path], bool]  # (sha256, where to put it) -> whether it was at hand
Progress = Callable[[int, int], None]  # (bytes here, bytes in all)


def fetch_folder(url: str, folder: Path, claim: Claim, *, take: Take, progress: Progress) -> dict[str, FileHash]:
    """Fetches the release at `url`, an address that ends in "/", into `folder`; returns the hashes of the listed files.

    Files that are in `folder` already, or that `take` has, are hashed instead of fetched; a broken one is continued. Raises
    StoreError for what cannot be fetched, ReleaseError for a manifest that lists what no model has or is signed by another.
    """
    if not get_small(url + MANIFEST, folder / MANIFEST):
        raise StoreError(f"{url} has no {MANIFEST}, so nothing there can be checked; give the folder of a release")
    if not get_small(url + SIGNATURE, folder / SIGNATURE):
        (folder / SIGNATURE).unlink(missing_ok=True)
    if claim.signed_by is not None:
        from mistral7b.release.sign import verify_signature

        verify_signature(folder / MANIFEST, claim.signed_by)
    try:
        listed = read_manifest(folder / MANIFEST)
    except CheckpointError as error:
        raise ReleaseError(str(error)) from None
    try:
        check_files([(name, file.size) for name, file in listed.items()], launch=False)
    except ReleaseError as error:
        raise ReleaseError(f"{url} is refused: {error}") from None
    wanted = {name: file for name, file in listed.items() if claim.wants(name)}
    if not wanted:
        raise StoreError(f"none of the {len(listed)} files of {url} matches --only; they are {', '.join(listed)}")
    _clear(folder, wanted)
    total, done = sum(file.size for file in wanted.values()), 0
    missing: dict[str, FileHash] = {}
    for name, file in wanted.items():
        if not _has(folder / name, file) and not take(file.sha256, folder / name):
            missing[name] = file
            continue
        forget(folder / name)
        done += file.size
        progress(done, total)
    _check_room(url, folder, missing)
    for name, file in missing.items():
        start = done

        def at(here: int, start: int = start) -> None:
            progress(start + here, total)

        get(url + quote(name), folder / name, Stated("sha256", file.sha256, file.size), at=at)
        done += file.size
        progress(done, total)
    return wanted


def _check_room(url: str, folder: Path, missing: dict[str, FileHash]) -> None:
    """For all that is missing at once: file by file the disk would be full before it is told."""
    parts = [folder / f"{name}.part" for name in missing]
    needs = sum(file.size for file in missing.values()) - sum(part.stat().st_size for part in parts if part.is_file())
    if (free := shutil.disk_usage(folder).free) < needs:
        raise StoreError(f"{url} needs {needs / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB free; make room first")


def _has(path: Path, file: FileHash) -> bool:
    return path.is_file() and path.stat().st_size == file.size and sha256_of(path) == file.sha256


def _clear(folder: Path, wanted: dict[str, FileHash]) -> None:
    """Removes what an earlier call left of a manifest that has changed since."""
    keep = {MANIFEST, SIGNATURE, *wanted}
    for path in folder.iterdir():
        if path.name.removesuffix(".tag").removesuffix(".part") not in keep:
            path.unlink()
