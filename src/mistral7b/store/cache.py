"""The hub's cache on this disk, in the layout all hub clients share: blobs by hash, snapshots by commit, refs by name.

huggingface_hub's own downloader puts its files in the same places, so that a model fetched by either is found by both.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.file_download import repo_folder_name

from mistral7b.checkpoint.configs import HF, PARAMS
from mistral7b.checkpoint.folder import open_checkpoint
from mistral7b.errors import Mistral7BError
from mistral7b.store.listing import RemoteFile


def cached(hub_id: str, *, revision: str | None = None, cache: Path | None = None) -> Path | None:
    """The snapshot of `revision` (None: main) if all its weights and their config are there, else None. Reads headers only."""
    for name in (PARAMS, HF):
        found = try_to_load_from_cache(hub_id, name, cache_dir=cache, revision=revision)
        if isinstance(found, str) and _opens(Path(found).parent):
            return Path(found).parent
    return None


def _opens(snapshot: Path) -> bool:
    try:
        open_checkpoint(snapshot, force=True)
    except Mistral7BError:
        return False
    return True


class CachePlace:
    """Where the files of one commit go in the cache `root` (None: the client's own, HF_HUB_CACHE)."""

    def __init__(self, root: Path | None, hub_id: str, commit: str) -> None:
        self._repo = (root or Path(constants.HF_HUB_CACHE)) / repo_folder_name(repo_id=hub_id, repo_type="model")
        self._commit = commit
        self.folder = self._repo / "snapshots" / commit

    def holds(self, file: RemoteFile) -> bool:
        return self.path(file).is_file()

    def path(self, file: RemoteFile) -> Path:
        """Where the bytes lie: under their hash, or in the snapshot itself where the file system knows no links."""
        named = self.folder / file.name
        return named if named.is_file() and not named.is_symlink() else self._repo / "blobs" / file.etag

    def name(self, file: RemoteFile) -> None:
        """Gives fetched bytes their file name in the snapshot."""
        named, blob = self.folder / file.name, self.path(file)
        if blob == named or (named.is_symlink() and named.exists()):
            return
        named.parent.mkdir(parents=True, exist_ok=True)
        named.unlink(missing_ok=True)
        try:
            named.symlink_to(os.path.relpath(blob, named.parent))
        except OSError:
            os.replace(blob, named)

    def refer(self, revision: str) -> None:
        """Lets a branch or tag name this commit from now on."""
        if revision == self._commit:
            return
        ref = self._repo / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=ref.parent, delete=False) as aside:
            aside.write(self._commit)
        os.replace(aside.name, ref)


class FolderPlace:
    """A folder of the user's own, where the files lie under their names and nothing else is left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def holds(self, file: RemoteFile) -> bool:
        return self.path(file).is_file()

    def path(self, file: RemoteFile) -> Path:
        return self.folder / file.name

    def name(self, file: RemoteFile) -> None:
        """Nothing to do: the bytes lie under their name."""

    def refer(self, revision: str) -> None:
        """Nothing to do: a folder is of one revision."""
