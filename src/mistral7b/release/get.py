"""get: a link -> a checked folder, in the store or where the user wants it; nothing unchecked leaves the quarantine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mistral7b.checkpoint.aside import PTH, written
from mistral7b.checkpoint.manifest import FileHash
from mistral7b.checkpoint.report import Check
from mistral7b.errors import ReleaseError, StoreError
from mistral7b.release.blobs import Kept, Store
from mistral7b.release.check import Checked, Claim, check_folder
from mistral7b.release.contents import inspect_folder
from mistral7b.release.home import Home
from mistral7b.release.launch import is_launch, recognise, rewrite
from mistral7b.release.quarantine import move, quarantine, refuse_taken
from mistral7b.release.settling import is_settling, note_settling, take_up
from mistral7b.release.sources import Source
from mistral7b.release.stored import check_stored, find_stored
from mistral7b.release.ways import Fetch, Progress, Wish, bring


@dataclass(frozen=True, kw_only=True)
class Got:
    """What was got: `fetched` is False where the store had it, `signer` whose signature it has, trusted or not, `torrent` the
    .torrent it came by, `apart` where the pickle of a launch is kept."""

    folder: Path
    source: str
    files: Mapping[str, FileHash]
    checks: tuple[Check, ...]
    fetched: bool
    signer: str | None = None
    torrent: Path | None = None
    apart: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "path": str(self.folder),
            "source": self.source,
            "files": [{"name": name, "bytes": file.size, "sha256": file.sha256} for name, file in self.files.items()],
            "bytes": sum(file.size for file in self.files.values()),
            "checks": [{"name": check.name, "status": check.status, "detail": check.detail} for check in self.checks],
            "fetched": self.fetched,
            "signer": self.signer,
            "torrent": None if self.torrent is None else str(self.torrent),
            "apart": None if self.apart is None else str(self.apart),
        }


def _silent(done: int, total: int, what: str) -> None: ...


def get(source: Source, home: Home, wish: Wish | None = None, progress: Progress = _silent) -> Got:
    """The checked model that `source` leads to; what the store has already is not fetched again.

    What broke off is continued by the next call. Raises StoreError for what cannot be fetched or stored, ReleaseError and
    CheckpointError for what is not what it claims to be, each in one line; what was refused never leaves the quarantine.
    """
    if source.kind == "torrent" and "://" not in source.link:
        from mistral7b.release.swarming import identified

        source = identified(source)
    wish, source, store = wish or Wish(), recognise(source), Store(home)
    claim = replace(wish.claim, variant=wish.claim.variant or source.variant)
    key = source.key(claim.only)
    if wish.to is None and (kept := find_stored(store, source, claim.only)) is not None:
        return _from_store(kept, claim, wish, progress)
    place, apart = _places(home, key, wish.to)
    pickled = is_launch(source) and not is_settling(place)  # else an earlier call may have put it there
    for target in () if wish.to is None else (wish.to, apart) if pickled else (wish.to,):
        refuse_taken(target)
    if claim.signed_by is not None and source.kind in ("tar", "file"):
        raise StoreError(f"{source.link} carries no signature: leave out --signed-by, or name the folder of a release")
    with quarantine(place) as room:
        fetch = Fetch(source, wish, claim, store, room, room / "files", progress)
        origin, ready = take_up(fetch, key) or _brought(fetch)
        checked = _checked(fetch, ready)
        checks = (origin, *checked.checks)
        note_settling(fetch, key, origin, ready, checked.files)
        if ready != fetch.folder and fetch.folder.is_dir():
            _keep_apart(fetch, apart)
        target = _settle(store, fetch.source, claim.only, wish.to, ready, Checked(checked.files, checks))
        torrent = _keep_torrent(fetch, target.with_name(f"{target.name}.torrent"))
    return Got(
        folder=target, source=fetch.source.link, files=checked.files, checks=checks, fetched=True, signer=checked.signer,
        torrent=torrent, apart=apart if ready != fetch.folder else None,
    )  # fmt: skip


def _from_store(kept: Kept, claim: Claim, wish: Wish, progress: Progress) -> Got:
    """A model that was checked when it came, held against what is claimed of it now; read again if anything is."""
    done = 0

    def read(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        progress(done, kept.size, "checking")

    again = wish.again or wish.claim.signed_by is not None or wish.claim.variant is not None
    checked = check_stored(kept, claim, again=again, read=read)
    torrent = kept.folder.with_name(f"{kept.key}.torrent")
    return Got(
        folder=kept.folder, source=kept.source, files=kept.files, checks=checked.checks, fetched=False,
        signer=checked.signer, torrent=torrent if torrent.is_file() else None,
    )  # fmt: skip


def _places(home: Home, key: str, to: Path | None) -> tuple[Path, Path]:
    """(The quarantine, where a pickle is kept apart): on the disk where the model will stand, for a rename leads there."""
    if to is None:
        return home.quarantine / key, home.apart / key
    return to.parent / f".{to.name}.quarantine", to.parent / f"{to.name}.pickle"


def _brought(fetch: Fetch) -> tuple[Check, Path]:
    fetch.folder.mkdir(exist_ok=True)
    return bring(fetch), _without_pickle(fetch)


def _without_pickle(fetch: Fetch) -> Path:
    """The fetched folder; of a launch, which has its weights in a pickle, the folder that it is rewritten as."""
    launch = is_launch(fetch.source)
    with _named(fetch):
        names = {path.name for path in inspect_folder(fetch.folder, launch=launch)}
    if PTH not in names:
        return fetch.folder
    made = fetch.room / fetch.source.title
    if not made.is_dir():
        rewrite(fetch.folder, made, lambda done, total: fetch.tell(done, total, "rewriting as safetensors"))
    return made


def _checked(fetch: Fetch, ready: Path) -> Checked:
    hashed = fetch.hashed if ready == fetch.folder else {}
    total, done = sum(path.stat().st_size for path in ready.iterdir() if path.is_file() and path.name not in hashed), 0

    def read(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        fetch.tell(done, total, "checking")

    with _named(fetch):
        return check_folder(ready, fetch.claim, hashed=hashed, read=read)


@contextmanager
def _named(fetch: Fetch) -> Iterator[None]:
    """A ReleaseError of the block says what is refused, and where it lies."""
    try:
        yield
    except ReleaseError as error:
        raise ReleaseError(f"{fetch.source.title} is refused: {error}; what came is in {fetch.room}") from None


def _settle(store: Store, source: Source, only: tuple[str, ...], to: Path | None, ready: Path, checked: Checked) -> Path:
    if to is None:
        key = source.key(only)
        return store.keep(key, ready, source.link, checked.files, checked.checks, source.identity(only)).folder
    move(ready, to)
    return to


def _keep_apart(fetch: Fetch, apart: Path) -> None:
    if fetch.wish.to is None:
        shutil.rmtree(apart, ignore_errors=True)  # the store's own, of an earlier fetch
        apart.parent.mkdir(exist_ok=True)
    move(fetch.folder, apart)


def _keep_torrent(fetch: Fetch, path: Path) -> Path | None:
    """Beside the model, unless a file of that name stands there."""
    if fetch.torrent is None or (fetch.wish.to is not None and path.exists()):
        return None
    with written(path) as out:
        out.write(fetch.torrent.read_bytes())
    return path
