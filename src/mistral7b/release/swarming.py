"""A torrent into the quarantine: its swarm first, with the mirrors as web seeds of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from mistral7b.checkpoint.manifest import MANIFEST
from mistral7b.checkpoint.report import Check
from mistral7b.errors import ReleaseError, StoreError
from mistral7b.release.contents import SIGNATURE
from mistral7b.release.extra import needed_for
from mistral7b.release.http import get_small

if TYPE_CHECKING:
    from mistral7b.release.ways import Fetch

_TORRENT = "release.torrent"


def swarm(fetch: Fetch) -> Check:
    """Fetches the torrent of `fetch` and lets `fetch.folder` be where it stands; every piece was held against the info hash.

    Raises StoreError for what cannot be fetched, ReleaseError for a torrent that is refused.
    """
    with needed_for("a torrent"):
        import libtorrent  # noqa: F401 - told before anything is asked of the network
    from mistral7b.release.fetch import fetch as run

    link, hashes = _link(fetch)
    only = () if not fetch.claim.only else (*fetch.claim.only, MANIFEST, SIGNATURE)
    fetch.folder = run(
        link, fetch.room / "swarm", only=only, peers=fetch.wish.peers, settings=fetch.wish.settings, progress=fetch.at
    )
    return Check("source", "pass", f"torrent {' and '.join(hashes)}: every piece as it states")


def _link(fetch: Fetch) -> tuple[str, tuple[str, ...]]:
    """(The magnet link or the path of a .torrent, with the mirrors as web seeds; the info hashes in hex)."""
    source, torrent = fetch.source, fetch.room / _TORRENT
    if source.kind == "magnet":
        seeds = [seed for mirror in fetch.wish.mirrors if (seed := _web_seed(mirror, source.title)) is not None]
        for mirror in fetch.mirrors:
            # Where a mirror has the .torrent, no peer is needed to learn what the hash stands for.
            if get_small(f"{mirror.removesuffix('/')}.torrent", torrent) and set(source.hashes) <= set(info_hashes(torrent)):
                fetch.torrent = torrent
                return str(with_web_seeds(torrent, seeds)), source.hashes
        return source.link + "".join(f"&ws={quote(seed, safe='')}" for seed in seeds), source.hashes
    if "://" in source.link:
        if not get_small(source.link, torrent):
            raise StoreError(f"{source.link} does not exist; check the address")
    else:
        torrent.write_bytes(Path(source.link).read_bytes())
    fetch.torrent = torrent
    hashes = info_hashes(torrent)
    seeds = [seed for mirror in fetch.wish.mirrors if (seed := _web_seed(mirror, _parsed(torrent).name)) is not None]
    return str(with_web_seeds(torrent, seeds)), hashes


def info_hashes(torrent: Path) -> tuple[str, ...]:
    """The hex info hashes in a .torrent, v1 first. Raises ReleaseError for a file that is none."""
    found = _parsed(torrent).info_hashes
    return tuple(str(one) for one, there in ((found.v1, found.has_v1()), (found.v2, found.has_v2())) if there)


def with_web_seeds(torrent: Path, seeds: list[str]) -> Path:
    """The .torrent itself, or beside it one that has `seeds` too; the info hash stays."""
    import libtorrent as lt

    if not seeds:
        return torrent
    held = lt.bdecode(torrent.read_bytes())
    known = held.get(b"url-list", [])
    held[b"url-list"] = [*(known if isinstance(known, list) else [known]), *(seed.encode() for seed in seeds)]
    seeded = torrent.with_name(f"seeded-{torrent.name}")
    seeded.write_bytes(lt.bencode(held))
    return seeded


def _web_seed(mirror: str, name: str) -> str | None:
    """The address that BEP 19 wants, of the folder around the release's; None where that has another name than the torrent."""
    around, _, last = mirror.rstrip("/").rpartition("/")
    return f"{around}/" if last == quote(name) and urlsplit(mirror).hostname else None


def _parsed(torrent: Path) -> Any:
    import libtorrent as lt

    try:
        return lt.load_torrent_file(str(torrent))
    except RuntimeError as error:
        raise ReleaseError(f"{torrent.name} is no .torrent: {error}") from None
