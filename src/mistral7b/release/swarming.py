"""A torrent into the quarantine: its swarm, the mirrors as web seeds of it, and what the store has of it already."""

from __future__ import annotations

import glob
import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from mistral7b.checkpoint.configs import HF, PARAMS
from mistral7b.checkpoint.manifest import MANIFEST, FileHash, read_manifest
from mistral7b.checkpoint.report import Check
from mistral7b.errors import CheckpointError, ReleaseError, StoreError
from mistral7b.release.events import Event, Metadata, Staying, hashes_of
from mistral7b.release.extra import needed_for
from mistral7b.release.holding import TORRENT
from mistral7b.release.http import get_small
from mistral7b.release.inspect import SIGNATURE
from mistral7b.release.launch import is_launch
from mistral7b.release.sources import clean

if TYPE_CHECKING:
    from mistral7b.release.sources import Source
    from mistral7b.release.ways import Fetch

_MIRROR_TIMEOUT_S = 5.0  # which keeps the swarm waiting
_FIRST = (MANIFEST, SIGNATURE, PARAMS, HF)  # small, and every model has one of them


def swarm(fetch: Fetch) -> Check:
    """Fetches the torrent of `fetch` and lets `fetch.folder` be where it stands; every piece was held against the info hash.

    Of what its manifest lists, the store's own files are not asked for. Raises StoreError for what cannot be fetched,
    ReleaseError for a torrent that is refused.
    """
    from mistral7b.release.fetch import fetch as run

    link, wanted = _link(fetch)
    hashes = wanted

    def hear(event: Event) -> None:
        nonlocal hashes
        if isinstance(event, Metadata):
            hashes = event.hashes
            if not set(wanted) <= set(hashes):
                raise ReleaseError(f"the link leads to the torrent {' and '.join(hashes)}, not to {' and '.join(wanted)}")
        elif isinstance(event, Staying):
            fetch.tell(1, 1, f"all is here; a minute more for {event.peers} peers that have no other seed")

    def part(only: tuple[str, ...], *, more: bool = False) -> Path:
        wish = fetch.wish
        return run(
            link, fetch.room / "swarm", only=only, peers=wish.peers, settings=wish.settings, progress=fetch.at, events=hear,
            more=more,
        )  # fmt: skip

    at_hand: dict[str, FileHash] = {}
    only = () if not fetch.claim.only else (*fetch.claim.only, MANIFEST, SIGNATURE)
    if fetch.store.has_blobs() and not is_launch(fetch.source):
        first = part(_FIRST, more=True)
        listed = _listed(first)
        at_hand = {name: file for name, file in listed.items() if fetch.claim.wants(name) and fetch.store.holds(file)}
        missing = [name for name in listed if fetch.claim.wants(name) and name not in at_hand]
        only = tuple(glob.escape(name) for name in (*missing, MANIFEST, SIGNATURE)) if at_hand else only
    fetch.folder = part(only)
    if fetch.torrent is None:
        beside = (folder / TORRENT for folder in (fetch.folder.parent, fetch.folder.parent.parent))
        fetch.torrent = next((path for path in beside if path.is_file()), None)
    for name, file in at_hand.items():
        if not fetch.take(file.sha256, fetch.folder / name):
            raise StoreError(f"{name} was in the store, damaged, and is thrown away; run it again to fetch it")
    shared = f"; {len(at_hand)} files were in the store" if at_hand else ""
    return Check("source", "pass", f"torrent {' and '.join(hashes)}: every piece as it states{shared}")


def _listed(folder: Path) -> dict[str, FileHash]:
    if not (folder / MANIFEST).is_file():
        return {}
    try:
        return read_manifest(folder / MANIFEST)
    except CheckpointError as error:
        raise ReleaseError(str(error)) from None


def _link(fetch: Fetch) -> tuple[str, tuple[str, ...]]:
    """(The magnet link or the path of a .torrent, with the mirrors as web seeds; the info hashes in hex)."""
    source, torrent = fetch.source, fetch.room / TORRENT
    if source.kind == "magnet":
        seeds = _web_seeds(fetch, source.title)
        # Where a mirror has the .torrent, no peer is needed to learn what the hash stands for.
        for mirror in fetch.mirrors:
            with suppress(StoreError, ReleaseError):  # a mirror is no more than a help
                there = get_small(f"{mirror.removesuffix('/')}.torrent", torrent, tries=1, timeout=_MIRROR_TIMEOUT_S)
                if there and set(source.hashes) <= set(info_hashes(torrent)):
                    fetch.torrent = torrent
                    return str(with_web_seeds(torrent, seeds)), source.hashes
        return source.link + "".join(f"&ws={quote(seed, safe='')}" for seed in seeds), source.hashes
    if "://" not in source.link:
        torrent.write_bytes(Path(source.link).read_bytes())
    elif not get_small(source.link, torrent):
        raise StoreError(f"{source.link} does not exist; check the address")
    elif source.stated.digest not in (None, found := hashlib.new(source.stated.algorithm, torrent.read_bytes()).hexdigest()):
        raise StoreError(f"{source.link} is not the file it should be: {source.stated.algorithm} {found}; get the link anew")
    fetch.torrent = torrent
    return str(with_web_seeds(torrent, _web_seeds(fetch, _parsed(torrent).ti.name()))), info_hashes(torrent)


def identified(source: Source) -> Source:
    """A .torrent on this disk under the name and hashes that its magnet link has, so that both lead to one model."""
    path = Path(source.link)
    return replace(source, title=clean(_parsed(path).ti.name()), hashes=info_hashes(path))


def info_hashes(torrent: Path) -> tuple[str, ...]:
    """The hex info hashes in a .torrent, v1 first. Raises StoreError or ReleaseError for a file that is none, or is refused."""
    return hashes_of(_parsed(torrent).info_hashes)


def with_web_seeds(torrent: Path, seeds: list[str]) -> Path:
    """The .torrent itself, or beside it one that has `seeds` too; the info hash stays."""
    import libtorrent as lt

    if not seeds:
        return torrent
    held: Any = lt.bdecode(torrent.read_bytes())
    known = held.get(b"url-list", [])
    held[b"url-list"] = [*(known if isinstance(known, list) else [known]), *(seed.encode() for seed in seeds)]
    seeded = torrent.with_name(f"seeded-{torrent.name}")
    seeded.write_bytes(lt.bencode(held))
    return seeded


def _web_seeds(fetch: Fetch, name: str) -> list[str]:
    """The addresses that BEP 19 wants, of the folders around the release's; none where that has another name than the torrent."""
    seeds = []
    for mirror in fetch.wish.mirrors:
        around, _, last = mirror.rstrip("/").rpartition("/")
        with suppress(ValueError):  # of a malformed address
            if last == quote(name) and urlsplit(mirror).hostname:
                seeds.append(f"{around}/")
    return seeds


def _parsed(torrent: Path) -> Any:
    with needed_for("a torrent"):
        from mistral7b.release.link import read_torrent
    return read_torrent(torrent)
