"""The .torrent of what was fetched from a magnet link, so that whoever has it can seed it in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def metafile(saved: bytes, trackers: Sequence[str], web_seeds: Sequence[str]) -> bytes | None:
    """The .torrent of a whole fetch, of which `saved` is what a later session would go on from: the info dictionary as it came,
    and the trees of hashes that its files were held against, which hold the layers of pieces that a v2 torrent has (BEP 52).

    No file is read. None where a layer is not known, as nobody could fetch from such a .torrent alone.
    """
    import libtorrent as lt

    params = lt.read_resume_data(saved)
    params.trackers, params.tracker_tiers = list(trackers), list(range(len(trackers)))
    params.url_seeds, params.http_seeds, params.dht_nodes = list(web_seeds), [], []
    try:
        made: Any = lt.write_torrent_file(params)
    except RuntimeError:
        return None
    if trackers:
        made[b"announce"] = trackers[0].encode()  # for clients that know no lists of them
    return lt.bencode(made)
