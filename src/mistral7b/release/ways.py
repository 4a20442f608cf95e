"""The ways to fetch, by the kind of source: each leaves files in the quarantine and says what vouches for them so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mistral7b.checkpoint.aside import written
from mistral7b.checkpoint.digest import sha256_of
from mistral7b.checkpoint.manifest import FileHash
from mistral7b.checkpoint.report import Check
from mistral7b.errors import StoreError
from mistral7b.release.blobs import Store
from mistral7b.release.check import ANY, Claim
from mistral7b.release.http import Stated, forget, get
from mistral7b.release.launch import is_launch
from mistral7b.release.mirror import fetch_folder
from mistral7b.release.sources import Source
from mistral7b.release.tar import unpack

if TYPE_CHECKING:
    from mistral7b.release.session import Settings

Progress = Callable[[int, int, str], None]  # (bytes done, bytes in all, what is being done)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How to get it: what it must be, where it goes (`to`; None: the store), who has it (`peers` as HOST:PORT, `mirrors` as
    addresses of the release's folder), the settings of the swarm, and whether what the store has already is read `again`."""

    claim: Claim = ANY
    to: Path | None = None
    peers: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    settings: Settings | None = None
    again: bool = False


@dataclass(slots=True)
class Fetch:
    """One download under way in the quarantined folder `room`. `folder` is where its files come to stand, `hashed` those of them
    that were hashed on the way, `torrent` the .torrent they came by."""

    source: Source
    wish: Wish
    claim: Claim
    store: Store
    room: Path
    folder: Path
    tell: Progress
    hashed: dict[str, FileHash] = field(default_factory=dict)
    torrent: Path | None = None

    @property
    def mirrors(self) -> tuple[str, ...]:
        """Those that the user named, then those that the link does, unless web seeds are switched off."""
        seeds = () if self.wish.settings is not None and not self.wish.settings.web_seeds else self.source.mirrors
        return tuple(dict.fromkeys(f"{mirror.rstrip('/')}/" for mirror in (*self.wish.mirrors, *seeds)))

    def take(self, sha256: str, path: Path) -> bool:
        return self.store.take(sha256, path, linked=self.wish.to is None)

    def at(self, done: int, total: int) -> None:
        self.tell(done, total, f"fetching {self.source.title}")


def bring(fetch: Fetch) -> Check:
    """Fetches what `fetch` is about into its folder; the answer tells where it came from and what was held against what.

    Raises StoreError for what cannot be fetched, ReleaseError for what is not what it should be.
    """
    match fetch.source.kind:
        case "folder":
            return _from_folder(fetch)
        case "file":
            return _from_file(fetch)
        case "tar":
            return _from_tar(fetch)
        case "magnet" | "torrent":
            return _from_swarm(fetch)


def _from_folder(fetch: Fetch) -> Check:
    faults = []
    for url in (fetch.source.link, *fetch.mirrors):
        try:
            fetch.hashed = fetch_folder(url, fetch.folder, fetch.claim, take=fetch.take, progress=fetch.at)
        except StoreError as error:
            faults.append(error)
            continue
        return Check("source", "pass", f"{url}: every file as its manifest states")
    raise faults[0]


def _from_file(fetch: Fetch) -> Check:
    name = urlsplit(fetch.source.link).path.rsplit("/", 1)[-1]
    path, stated = fetch.folder / name, fetch.source.stated
    known = stated.digest if stated.algorithm == "sha256" else None
    here = known is not None and path.is_file() and sha256_of(path) == known
    if here or (known is not None and fetch.take(known, path)):
        forget(path)
    else:
        sha256 = _stream(fetch, path, stated)
        fetch.hashed = {name: FileHash(sha256, path.stat().st_size)}
    return _stated(fetch.source)


def _from_tar(fetch: Fetch) -> Check:
    tar, done_mark = fetch.room / "release.tar", fetch.room / "unpacked"
    _refuse_other(fetch, tar, done_mark)
    if done_mark.is_file():
        return _stated(fetch.source)
    if not tar.is_file():
        _stream(fetch, tar, fetch.source.stated)
    for path in fetch.folder.iterdir():
        path.unlink()  # of an unpacking that was cut off
    done, total = 0, tar.stat().st_size

    def wrote(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        fetch.tell(done, total, "unpacking")

    unpack(tar, fetch.folder, launch=is_launch(fetch.source), wrote=wrote)
    done_mark.touch()
    tar.unlink()
    return _stated(fetch.source)


def _refuse_other(fetch: Fetch, *left: Path) -> None:
    """What an earlier call `left` here counts for the link that it came from, and the hash stated then; beside `--to` another may
    have been at work. Raises StoreError."""
    note, stated = fetch.room / "tar-of", fetch.source.stated
    this = f"{fetch.source.link}\n{stated.algorithm} {stated.digest}"
    if not note.is_file():
        for path in left:
            path.unlink(missing_ok=True)
        with written(note) as out:
            out.write(this.encode())
    elif (other := note.read_text()) != this:
        link = other.partition("\n")[0]
        which = "the same link with another hash" if link == fetch.source.link else link
        raise StoreError(f"{fetch.room} holds what came of {which}; fetch that to its end, or remove the folder")


def _stream(fetch: Fetch, path: Path, stated: Stated) -> str:
    """The file of the source, or of the first mirror that has it; its sha256."""
    faults = []
    for url in (fetch.source.link, *(mirror.removesuffix("/") for mirror in fetch.mirrors)):
        try:
            return get(url, path, stated, at=lambda here: fetch.at(here, max(here, stated.size or 0)))
        except StoreError as error:
            faults.append(error)
    raise faults[0]


def _stated(source: Source) -> Check:
    if source.stated.digest is None:
        return Check("source", "skip", f"{source.link}: no hash of it is known; only the server vouches for it")
    return Check("source", "pass", f"{source.link}: {source.stated.algorithm} {source.stated.digest}, as stated")


def _from_swarm(fetch: Fetch) -> Check:
    from mistral7b.release.swarming import swarm

    try:
        return swarm(fetch)
    except StoreError as fault:
        # Without the swarm only a signature ties what a server hands out to what was asked for, and it fits older releases too:
        # what comes goes by the address of the server that the user named, not by the link.
        for url in fetch.wish.mirrors if fetch.claim.signed_by is not None else ():
            mirror = Source("folder", f"{url.rstrip('/')}/", fetch.source.title)
            try:
                fetch.hashed = fetch_folder(mirror.link, fetch.folder, fetch.claim, take=fetch.take, progress=fetch.at)
            except StoreError:
                continue
            fetch.source, fetch.torrent = mirror, None
            return Check("source", "skip", f"{mirror.link}, since {fault}: signed as asked, but not the bytes of the link")
        raise
