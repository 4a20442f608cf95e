"""The .torrent of what was fetched from a magnet link, so that whoever has it can seed it in turn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mistral7b.release.landed import BLOCK

if TYPE_CHECKING:
    import libtorrent as lt

_HASH = 32  # bytes of a SHA-256


def metafile(saved: bytes, trackers: Sequence[str], web_seeds: Sequence[str]) -> bytes | None:
    """The .torrent of a whole fetch, of which `saved` is what a later session would go on from: the info dictionary as it came,
    and of the trees of hashes that its files were held against the layers of pieces that a v2 torrent has (BEP 52).

    No file is read. None where a layer is not known, as nobody could fetch from such a .torrent alone.
    """
    import libtorrent as lt

    known = lt.read_resume_data(saved)
    info = known.ti
    assert info is not None
    # Without the trees: libtorrent 2.1 makes a layer of one that reaches down to blocks in time that grows with its square.
    params = lt.add_torrent_params()
    params.ti, params.creation_date = info, known.creation_date
    params.comment, params.created_by = known.comment, known.created_by
    params.trackers, params.tracker_tiers, params.url_seeds = list(trackers), list(range(len(trackers))), list(web_seeds)
    del known
    made: Any = lt.write_torrent_file(params, lt.write_flags.allow_missing_piece_layer)
    if info.info_hashes().has_v2():
        held: Any = lt.bdecode(saved)
        layers = _layers(info, held.get(b"trees", []))
        if layers is None:
            return None
        made[b"piece layers"] = layers
    if trackers:
        made[b"announce"] = trackers[0].encode()  # for clients that know no lists of them
    return lt.bencode(made)


def _layers(info: lt.torrent_info, trees: Sequence[Mapping[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """The layer of every file of more than one piece, by the root of its tree; None where one is not known."""
    files, length = info.layout(), info.piece_length()
    layers: dict[bytes, bytes] = {}
    for at in range(files.num_files()):
        if (size := files.file_size(at)) > length:
            layer = _layer(trees[at], -(-size // BLOCK), length // BLOCK) if at < len(trees) else None
            if layer is None:
                return None
            layers[files.root(at).to_bytes()] = layer
    return layers


def _layer(tree: Mapping[bytes, bytes], blocks: int, in_piece: int) -> bytes | None:
    """The hashes of the pieces of a file, one after the other, from those of them or of all `blocks` that `tree` has.

    A tree is of 2n - 1 nodes, n the number of blocks rounded up to a power of two: the root, then row after row; `mask` has a
    bit for each, set where `hashes` has it.
    """
    hashes, packed = tree[b"hashes"], tree.get(b"mask", b"")
    mask = f"{int.from_bytes(packed):0{8 * len(packed)}b}"
    width = 1 << (blocks - 1).bit_length()

    def row(first: int, count: int) -> bytes | None:
        start = mask.count("1", 0, first) * _HASH
        return hashes[start : start + count * _HASH] if mask[first : first + count] == "1" * count else None

    if (pieces := row(width // in_piece - 1, -(-blocks // in_piece))) is not None:
        return pieces
    if (leaves := row(width - 1, blocks)) is None:
        return None
    step = in_piece * _HASH
    return b"".join(_root(leaves[start : start + step].ljust(step, b"\0")) for start in range(0, len(leaves), step))


def _root(nodes: bytes) -> bytes:
    """Of a row of hashes, a power of two of them."""
    while len(nodes) > _HASH:
        pairs = range(0, len(nodes), 2 * _HASH)
        nodes = b"".join(hashlib.sha256(nodes[start : start + 2 * _HASH]).digest() for start in pairs)
    return nodes
