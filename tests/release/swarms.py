"""Sessions on the loopback that have a release, and settings to fetch from them and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import libtorrent as lt

from mistral7b.release.reach import Reach
from mistral7b.release.session import Settings, open_session
from mistral7b.release.torrent import Torrent, make_torrent

ALONE = Settings(listen=("127.0.0.1:0",), dht=False, trackers=False, pex=False, lsd=False, patience_s=60.0)
SEEDING = Settings(listen=("127.0.0.2:0",), dht=False, trackers=False, pex=False, lsd=False)


def torrent_of(folder: Path) -> Torrent:
    return make_torrent(folder, [path.name for path in sorted(folder.iterdir())], reach=Reach(), created=0)


@contextmanager
def seeding(*released: tuple[Path, Torrent]) -> Iterator[str]:
    """A session that has these folders; its address."""
    with open_session(SEEDING) as session:
        for folder, torrent in released:
            params = lt.load_torrent_buffer(torrent.data)
            params.save_path = str(folder.parent)
            params.flags &= ~lt.torrent_flags.auto_managed & ~lt.torrent_flags.paused
            session.add_torrent(params)
        while not session.listen_port() or not all(handle.status().is_seeding for handle in session.get_torrents()):
            session.wait_for_alert(1000)
            session.pop_alerts()
        yield f"127.0.0.2:{session.listen_port()}"
