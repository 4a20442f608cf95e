"""The store all verbs share: the content of a checked file once, by its sha256; models as folders of links to them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import sync, written
from mistral7b.checkpoint.digest import sha256_of
from mistral7b.checkpoint.manifest import FileHash
from mistral7b.checkpoint.report import Check
from mistral7b.errors import StoreError
from mistral7b.release.home import Home
from mistral7b.release.quarantine import sweep

_READ_ONLY = 0o444  # a link is the blob itself: nobody should write through it


@dataclass(frozen=True, slots=True)
class Kept:
    """A model in the store: `source` is the link it came by, `checks` what was found out then, `identity` what the source says
    that it is."""

    key: str
    folder: Path
    source: str
    files: Mapping[str, FileHash]
    checks: tuple[Check, ...] = ()
    identity: str = ""

    @property
    def size(self) -> int:
        """Bytes, those it shares with others included."""
        return sum(file.size for file in self.files.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.key,
            "path": str(self.folder),
            "source": self.source,
            "identity": self.identity,
            "bytes": self.size,
            "files": {name: file.to_json() for name, file in self.files.items()},
            "checks": [{"name": check.name, "status": check.status, "detail": check.detail} for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class Store:
    """The store under `home`; several processes may use it at once."""

    home: Home

    def model(self, key: str) -> Kept | None:
        """The model `key` if all its files are there in their sizes; reads no content."""
        kept = self._read(self.home.models / f"{key}.json")
        whole = kept is not None and all(_is_sized(kept.folder / name, file) for name, file in kept.files.items())
        return kept if whole else None

    def models(self) -> list[Kept]:
        """All whole ones, by name."""
        keys = sorted(path.stem for path in self.home.models.glob("*.json"))
        return [kept for key in keys if (kept := self.model(key)) is not None]

    def has_blobs(self) -> bool:
        """Whether there is any content that could be shared."""
        return self.home.blobs.is_dir() and any(self.home.blobs.iterdir())

    def holds(self, file: FileHash) -> bool:
        """Whether its content seems to be here; `take` makes sure."""
        return _is_sized(self.home.blobs / file.sha256, file)

    def take(self, sha256: str, path: Path, *, linked: bool) -> bool:
        """Puts the content with this hash at `path` if it is here, as a link or as a copy; a damaged blob is thrown away."""
        blob = self.home.blobs / sha256
        if not blob.is_file():
            return False
        if sha256_of(blob) != sha256:
            blob.unlink()
            return False
        path.unlink(missing_ok=True)
        if not (linked and _link(blob, path)):
            shutil.copyfile(blob, path)
        return True

    def keep(
        self, key: str, folder: Path, source: str, files: Mapping[str, FileHash], checks: tuple[Check, ...], identity: str = ""
    ) -> Kept:
        """Moves the checked `files` of `folder`, which is on the store's disk, into the store as the model `key`."""
        kept = Kept(key, self.home.models / key, source, files, checks, identity)
        with self._locked():
            for place in (self.home.blobs, self.home.models):
                place.mkdir(parents=True, exist_ok=True)
            for name, file in files.items():
                self._move(folder / name, self.home.blobs / file.sha256, file)
            self._name(kept)
            with written(self.home.models / f"{key}.json") as record:
                record.write((json.dumps(kept.to_json(), indent=2) + "\n").encode())
        return kept

    def drop(self, key: str) -> None:
        """Forgets the model `key`; `prune` frees what only it used. Raises StoreError if there is none."""
        with self._locked():
            if key not in {path.stem for path in self.home.models.glob("*.json")}:
                raise StoreError(f"the store holds no model {key}; `mistral7b download --list` shows their names")
            (self.home.models / f"{key}.json").unlink()
            (self.home.models / f"{key}.torrent").unlink(missing_ok=True)
            shutil.rmtree(self.home.models / key, ignore_errors=True)

    def prune(self) -> int:
        """Removes what no model uses: blobs, folders without a record, downloads that broke off, pickles kept apart. Returns
        the bytes freed."""
        with self._locked():
            freed = sweep(self.home.quarantine) + sweep(self.home.apart)
            records = [self._read(path) for path in self.home.models.glob("*.json")]
            used = {file.sha256 for kept in records if kept is not None for file in kept.files.values()}
            keys = {kept.key for kept in records if kept is not None}
            for path in self.home.models.glob("*"):
                if path.is_dir() and path.name not in keys:
                    shutil.rmtree(path)
            for blob in self.home.blobs.glob("*"):
                if blob.name not in used:
                    freed += blob.stat().st_size
                    blob.unlink()
        return freed

    def _move(self, path: Path, blob: Path, file: FileHash) -> None:
        if blob.is_file() and (path.samefile(blob) or sha256_of(blob) == file.sha256):
            path.unlink()
            return
        path.chmod(_READ_ONLY)
        sync(path)
        os.replace(path, blob)

    def _name(self, kept: Kept) -> None:
        made = kept.folder.with_name(f".{kept.key}.partial")
        for old in (made, kept.folder):
            shutil.rmtree(old, ignore_errors=True)
        made.mkdir()
        for name, file in kept.files.items():
            blob = self.home.blobs / file.sha256
            if not _link(blob, made / name):
                (made / name).symlink_to(os.path.relpath(blob, kept.folder))
        os.rename(made, kept.folder)
        sync(kept.folder.parent)

    def _read(self, record: Path) -> Kept | None:
        try:
            value = json.loads(record.read_bytes())
            files = {name: FileHash(file["sha256"], file["size"]) for name, file in value["files"].items()}
            checks = tuple(Check(check["name"], check["status"], check["detail"]) for check in value["checks"])
            return Kept(record.stem, self.home.models / record.stem, value["source"], files, checks, value["identity"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # not there, or not ours: as good as no model

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes what is where; raises StoreError for what the disk does not allow."""
        try:
            self.home.root.mkdir(parents=True, exist_ok=True)
            with (self.home.root / "lock").open("a") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StoreError(f"the store {self.home.root} cannot be changed: {error.strerror or error}") from None


def _is_sized(path: Path, file: FileHash) -> bool:
    return path.is_file() and path.stat().st_size == file.size


def _link(blob: Path, path: Path) -> bool:
    try:
        os.link(blob, path)
    except OSError:
        return False
    return True
