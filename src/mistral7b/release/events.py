"""What happens in a session, as typed events made of libtorrent's alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import libtorrent as lt


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line."""

    def to_json(self) -> dict[str, Any]:
        """{"event": "banned", ...} with the event's own fields."""
        return {"event": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True, slots=True)
class Listening(Event):
    """Peers can reach this session at IP:PORT."""

    address: str


@dataclass(frozen=True, slots=True)
class Metadata(Event):
    """What a torrent holds is known and passed inspection: so many files and pieces, `size` in bytes, its info hashes in hex."""

    name: str
    files: int
    pieces: int
    size: int
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Traffic(Event):
    """Bytes here and wanted in all, bytes a second both ways, bytes sent, peers connected and how many of them have it all."""

    done: int
    total: int
    down_rate: int
    up_rate: int
    sent: int
    peers: int
    seeds: int


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """A peer (IP:PORT) is connected."""

    peer: str


@dataclass(frozen=True, slots=True)
class Left(Event):
    """A peer is gone, and why."""

    peer: str
    why: str


@dataclass(frozen=True, slots=True)
class BadPiece(Event):
    """A piece arrived whose hash is wrong; it is fetched again."""

    piece: int


@dataclass(frozen=True, slots=True)
class Banned(Event):
    """A peer sent wrong bytes and is not spoken to again."""

    peer: str


@dataclass(frozen=True, slots=True)
class Stalled(Event):
    """Nothing arrives: of `pieces` wanted, `missing` are not here and `nowhere` are with no connected peer either, which are so
    many bytes of each file in `lacking`."""

    missing: int
    nowhere: int
    pieces: int
    peers: int
    lacking: dict[str, int]


@dataclass(frozen=True, slots=True)
class Staying(Event):
    """All is here, but `peers` are still fetching, and no other has all of it."""

    peers: int


@dataclass(frozen=True, slots=True)
class Trouble(Event):
    """Something that need not be the end: a tracker or a web seed that does not answer, a port that is taken."""

    text: str


@dataclass(frozen=True, slots=True)
class DiskFault(Event):
    """A file cannot be written or read; the torrent has stopped."""

    text: str


def address(endpoint: tuple[str, int]) -> str:
    """IP:PORT, or [IPv6]:PORT."""
    host, port = endpoint
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def translate(alert: lt.alert) -> Event | None:
    """The event that an alert stands for; None for one that says nothing to a user."""
    maker = _MAKERS.get(alert.what())
    return None if maker is None else maker(alert)


def _listening(alert: Any) -> Event | None:
    """Once an address: TCP and uTP share the port."""
    import libtorrent as lt

    return Listening(address((alert.address, alert.port))) if alert.socket_type == lt.socket_type_t.tcp else None


def _left(alert: Any) -> Event:
    return Left(address(alert.endpoint), alert.error.message())


_MAKERS: dict[str, Callable[[Any], Event | None]] = {
    "listen_succeeded": _listening,
    "listen_failed": lambda alert: Trouble(f"cannot listen on {alert.address}:{alert.port}: {alert.error.message()}"),
    "peer_connect": lambda alert: Connected(address(alert.endpoint)),
    "peer_disconnected": _left,
    "peer_error": _left,
    "hash_failed": lambda alert: BadPiece(alert.piece_index),
    "peer_ban": lambda alert: Banned(address(alert.endpoint)),
    "tracker_error": lambda alert: Trouble(f"tracker {alert.url}: {alert.error_message() or alert.error.message()}"),
    "url_seed": lambda alert: Trouble(f"web seed {alert.server_url()}: {alert.error_message() or alert.error.message()}"),
    "file_error": lambda alert: DiskFault(f"{alert.filename()}: {alert.error.message()}"),
    "torrent_error": lambda alert: DiskFault(alert.error.message()),
}


def hashes_of(found: lt.info_hash_t) -> tuple[str, ...]:
    """In hex, v1 first."""
    return tuple(str(one) for one, there in ((found.v1, found.has_v1()), (found.v2, found.has_v2())) if there)
