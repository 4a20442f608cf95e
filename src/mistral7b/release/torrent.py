"""A hybrid torrent of a folder (BEP 3 and BEP 52 in one), and the magnet link that names it by both hashes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mistral7b.errors import ReleaseError
from mistral7b.release.extra import needed_for
from mistral7b.release.reach import Reach, host_and_port

# Bytes. BEP 52 allows 16 KiB, one block; but then libtorrent 2.1 takes honest peers for liars once it has met a liar.
SMALLEST_PIECE, LARGEST_PIECE = 1 << 15, 1 << 26
# Enough for peers to trade from the first minutes on, and few enough that the metadata a magnet fetches stays below 100 kB.
_MOST_PIECES = 2048
_HASHES = 512  # of one request
_ALONE = 1 << 24  # bytes; no piece grows larger of itself, since one wrong byte costs a piece
_SHA2_256 = "1220"  # multihash: the function, and the length of what follows


@dataclass(frozen=True, kw_only=True, slots=True)
class Torrent:
    """`data` is the .torrent file. `v1` and `v2` are its info hashes in hex, of 40 and 64 digits; `pieces` their number, of
    `piece_size` bytes."""

    data: bytes
    magnet: str
    v1: str
    v2: str
    pieces: int
    piece_size: int


def piece_size_for(sizes: Collection[int]) -> int:
    """The smallest power of two that cuts files of these sizes into at most 2,048 pieces, between 32 KiB and 16 MiB (8 MiB for
    14.5 GB), and that any client can fetch from a magnet link."""
    size = SMALLEST_PIECE
    while (size < _ALONE and sum(sizes) > size * _MOST_PIECES) or _stuck(sizes, size):
        size *= 2
    return size


def _stuck(sizes: Iterable[int], piece_size: int) -> bool:
    """Whether some file has 512 k + 1 pieces: libtorrent 2.1 asks peers for v2 hashes 512 at a time, and takes a last one that
    comes alone for wrong, so that a fetch from the link never begins."""
    return any(pieces > 1 and pieces % _HASHES == 1 for pieces in (-(-size // piece_size) for size in sizes))


def parse_piece_size(text: str) -> int:
    """Bytes of "262144", "256K" or "4M"; raises ReleaseError for what is no piece size."""
    digits, unit = (text[:-1], text[-1:].upper()) if text[-1:].upper() in ("K", "M") else (text, "")
    if digits.isascii() and digits.isdecimal() and len(digits) < 12:
        size = int(digits) << {"": 0, "K": 10, "M": 20}[unit]
        if SMALLEST_PIECE <= size <= LARGEST_PIECE and size & (size - 1) == 0:
            return size
    raise ReleaseError(f"{text!r} is no piece size; give a power of two between 32K and 64M")


def make_torrent(
    folder: Path,
    names: Sequence[str],
    *,
    reach: Reach,
    created: int,
    piece_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Torrent:
    """The torrent of the files `names` of `folder`, which is the name they will have wherever they are fetched.

    `created` is in seconds since 1970. The same files, names and options give the same bytes; of the options only `piece_size`
    and `reach.private` enter the info hash, so trackers can change later. `progress` is told (bytes hashed, bytes in all).
    Memory does not grow with the files. Raises ReleaseError for a file that cannot be read.
    """
    with needed_for("a torrent"):
        import libtorrent as lt
    try:
        sizes = {name: (folder / name).stat().st_size for name in names}
        total = sum(sizes.values())
        piece_size = piece_size or piece_size_for(sizes.values())
        if _stuck(sizes.values(), piece_size):
            raise ReleaseError(
                f"with pieces of {piece_size:,} bytes nobody could fetch it from its link; take another --piece-size"
            )
        files = [lt.create_file_entry(f"{folder.name}/{name}", size) for name, size in sizes.items()]
        made = lt.create_torrent(files, piece_size)
        step = made.piece_length()
        for tier, url in enumerate(reach.trackers):
            made.add_tracker(url, tier)
        for url in reach.web_seeds:
            made.add_url_seed(url)
        for node in reach.nodes:
            made.add_node(*host_and_port("DHT node", node))
        made.set_priv(reach.private)
        made.set_creation_date(created)

        def hashed(piece: int) -> None:
            if progress is not None:
                progress(min(total, (piece + 1) * step), total)

        lt.set_piece_hashes(made, str(folder.parent), hashed)
    except (OSError, RuntimeError) as error:
        raise ReleaseError(f"{folder} cannot be hashed for its torrent: {error}") from None
    # The binding's own generate_buf takes the bytes for text.
    data = lt.bencode(made.generate())
    hashes = lt.load_torrent_buffer(data).info_hashes
    v1, v2 = str(hashes.v1), str(hashes.v2)
    return Torrent(
        data=data, magnet=magnet(folder.name, v1, v2, reach), v1=v1, v2=v2, pieces=made.num_pieces(), piece_size=step
    )  # fmt: skip


def magnet(name: str, v1: str, v2: str, reach: Reach) -> str:
    """The link: both hashes, so that clients of either kind join one swarm, the name, and every way to find a peer.

    DHT nodes have no place in a link; peers' addresses have (`x.pe`, BEP 9).
    """
    parts = [f"xt=urn:btih:{v1}", f"xt=urn:btmh:{_SHA2_256}{v2}", f"dn={quote(name, safe='')}"]
    parts += [f"tr={quote(url, safe='')}" for url in reach.trackers]
    parts += [f"ws={quote(url, safe='')}" for url in reach.web_seeds]
    parts += [f"x.pe={peer}" for peer in reach.peers]
    return "magnet:?" + "&".join(parts)
