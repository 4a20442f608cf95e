"""One torrent in one session: what it has, what it misses, and what happens, as events."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import libtorrent as lt

from mistral7b.errors import StoreError
from mistral7b.release.events import Banned, DiskFault, Event, Stalled, Traffic, translate
from mistral7b.release.landed import bytes_by_file
from mistral7b.release.link import extents

_SAVED_WITHIN_S = 60.0
_ALONE_S = 15.0  # without a peer over TCP, after which uTP is tried too: it passes routers that TCP does not
_LOOK_S, _LATELY_S = 1.0, 5.0  # at the peers; and how long ago a seed may have been seen

Tell = Callable[[Event], None]


class Swarm:
    """`tell` hears every event. Raises StoreError where libtorrent cannot add the torrent."""

    def __init__(self, session: lt.session, params: lt.add_torrent_params, tell: Tell, *, utp: bool = True) -> None:
        self._session = session
        self._tell = tell
        self._alone_since: float | None = time.monotonic() if utp else None
        self._saved: bytes | None = None
        self._gone = False
        self._looked = self._seeded = -_LATELY_S
        self._fetching: set[str] = set()
        self.banned: list[str] = []  # IP:PORT, the first one first
        try:
            self.handle = session.add_torrent(params)
        except RuntimeError as error:
            raise StoreError(f"the torrent cannot be opened: {error}") from None

    def pump(self, seconds: float) -> Traffic:
        """Waits up to `seconds` for something to happen, tells of it, and returns how things stand.

        Raises StoreError when a file cannot be written or read: what arrived stays.
        """
        self._session.wait_for_alert(int(seconds * 1000))
        for alert in self._session.pop_alerts():
            if isinstance(alert, lt.save_resume_data_alert):
                self._saved = lt.write_resume_data_buf(alert.params)
            elif isinstance(alert, lt.torrent_removed_alert):
                self._gone = True
            elif (event := translate(alert)) is not None:
                self._tell(event)
                if isinstance(event, Banned) and event.peer not in self.banned:
                    self.banned.append(event.peer)
                if isinstance(event, DiskFault):
                    raise StoreError(f"{event.text}; what arrived is kept: make room, or mend it, and run it again")
        now = self.traffic()
        self._look()
        self._try_utp(now)
        return now

    def traffic(self) -> Traffic:
        if self._gone:
            return Traffic(0, 0, 0, 0, 0, 0, 0)
        status = self.handle.status()
        return Traffic(
            done=status.total_wanted_done, total=status.total_wanted, down_rate=status.download_payload_rate,
            up_rate=status.upload_payload_rate, sent=status.total_payload_upload, peers=status.num_peers, seeds=status.num_seeds,
        )  # fmt: skip

    def complete(self) -> bool:
        """Whether every wanted piece is here and right. Before any file is wanted nothing is."""
        status = self.handle.status()
        return status.total_wanted > 0 and status.is_finished

    def checking(self) -> bool:
        states = lt.torrent_status.states
        return self.handle.status().state in (states.checking_files, states.checking_resume_data)

    def stalled(self) -> Stalled:
        """What is missing, and how much of that no connected peer has."""
        have = self.handle.status(lt.torrent_handle.query_pieces).pieces
        priorities, availability = self.handle.get_piece_priorities(), self.handle.piece_availability()
        wanted = [piece for piece, priority in enumerate(priorities) if priority]
        missing = [piece for piece in wanted if piece >= len(have) or not have[piece]]
        nowhere = [piece for piece in missing if piece >= len(availability) or not availability[piece]]
        info = self.handle.torrent_file()
        assert info is not None
        lacking = bytes_by_file(extents(info, Path()), nowhere, info.piece_length())
        return Stalled(len(missing), len(nowhere), len(wanted), self.handle.status().num_peers, lacking)

    def asking(self) -> int:
        """How many connected peers want something of what is here; 0 where a seed was connected lately, since two seeds part at
        once. Who was seen to fetch is no seed: it may be about to leave."""
        if time.monotonic() - self._seeded < _LATELY_S:
            return 0
        return sum(bool(peer.flags & lt.peer_info.remote_interested) for peer in self.handle.get_peer_info())

    def request_save(self) -> None:
        """Asks for what a later session needs to go on; `saved` has it when the data it speaks of is with the system."""
        self.handle.save_resume_data(lt.torrent_handle.flush_disk_cache | lt.torrent_handle.save_info_dict)

    def saved(self) -> bytes | None:
        """What was asked for, once."""
        saved, self._saved = self._saved, None
        return saved

    def save(self) -> bytes | None:
        """`request_save`, waited for; None if it takes too long."""
        self.request_save()
        end = time.monotonic() + _SAVED_WITHIN_S
        while (saved := self.saved()) is None and time.monotonic() < end:
            self.pump(0.2)
        return saved

    def close(self) -> None:
        """Takes the torrent out of the session and waits until its files are closed."""
        self._session.remove_torrent(self.handle)
        end = time.monotonic() + _SAVED_WITHIN_S
        while not self._gone and time.monotonic() < end:
            self._session.wait_for_alert(200)
            self._gone = any(isinstance(alert, lt.torrent_removed_alert) for alert in self._session.pop_alerts())

    def _look(self) -> None:
        """Notes which peers fetch, and when a seed was last here; now and then, for there may be hundreds."""
        now = time.monotonic()
        if self._gone or now - self._looked < _LOOK_S:
            return
        self._looked = now
        for peer in self.handle.get_peer_info():
            if 0 < peer.progress < 1:
                self._fetching.add(peer.ip[0])
            elif peer.progress == 1 and peer.ip[0] not in self._fetching:
                self._seeded = now

    def _try_utp(self, now: Traffic) -> None:
        if self._alone_since is None:
            return
        if now.peers:
            self._alone_since = time.monotonic()
        elif time.monotonic() - self._alone_since > _ALONE_S:
            self._session.apply_settings({"enable_outgoing_utp": True})
            self._alone_since = None
