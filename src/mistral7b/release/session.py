"""One libtorrent session from settings: where it listens, how it finds peers, how much it may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from mistral7b import __version__
from mistral7b.errors import StoreError

if TYPE_CHECKING:
    import libtorrent as lt

MAX_METADATA = 16 << 20  # bytes; a 14 GB release has 0.1 MB of it
_BLOCK = 16 << 10
_WRITE_CACHE = 32 << 20  # bytes received and not yet written; a piece of 16 MiB must fit
_CONTACTS = ("dht.libtorrent.org:25401", "router.bittorrent.com:6881", "router.utorrent.com:6881")


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How a session meets its peers.

    `listen` are addresses as IP:PORT, port 0 for any. `dht`, `trackers`, `pex` (peers tell of peers), `lsd` (local discovery by
    multicast) and `web_seeds` switch one way each; `upnp` asks the router to let peers in. `down_limit` and `up_limit` are in
    bytes a second, 0 for none. `dht_nodes` are where the DHT is entered. `patience_s` is how long a fetch waits while nothing
    arrives. Raises StoreError for a value that makes no sense.
    """

    listen: tuple[str, ...] = ("0.0.0.0:6881", "[::]:6881")
    dht: bool = True
    trackers: bool = True
    pex: bool = True
    lsd: bool = True
    web_seeds: bool = True
    upnp: bool = False
    down_limit: int = 0
    up_limit: int = 0
    connections: int = 200
    dht_nodes: tuple[str, ...] = _CONTACTS
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        if self.down_limit < 0 or self.up_limit < 0:
            raise StoreError("a rate limit is a number of bytes a second; 0 is none")
        if self.connections < 1 or self.patience_s <= 0:
            raise StoreError("a session needs at least one connection and some patience")
        for where in self.listen:
            parse_peer(where, any_port=True)

    def lab(self) -> Self:
        """Peers on the same network, found by local discovery and by nothing else."""
        return replace(self, dht=False, trackers=False, pex=False, web_seeds=False, lsd=True)


def parse_peer(text: str, *, any_port: bool = False) -> tuple[str, int]:
    """(host, port) of "192.168.1.7:6881", "[fe80::1]:6881" or "name:6881"; raises StoreError."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare) != (bare != host) or not (port.isascii() and port.isdecimal() and len(port) <= 5):
        raise StoreError(f"{text!r} is no address of a peer; write HOST:PORT, or [IPv6]:PORT")
    if not (0 if any_port else 1) <= int(port) <= 65535:
        raise StoreError(f"{text!r} has no port between 1 and 65535")
    return bare, int(port)


def require() -> None:
    """Raises StoreError where libtorrent is not installed."""
    try:
        import libtorrent  # noqa: F401
    except ModuleNotFoundError as error:
        raise StoreError(f"torrents need the package {error.name}; pip install 'mistral7b[release]'") from None


@contextmanager
def open_session(settings: Settings) -> Iterator[lt.session]:
    """A running session; on leaving it says goodbye to its peers. Raises StoreError if libtorrent is not installed."""
    require()
    import libtorrent as lt

    params = lt.session_params()
    params.settings = pack(settings)
    # Written with pwrite: mapped files would count, whole, as this process's memory.
    params.disk_io_constructor = "pread_disk_io_constructor"
    session = lt.session(params)
    _limit_everyone(session)
    try:
        yield session
    finally:
        session.pause()


def pack(settings: Settings) -> dict[str, Any]:
    """The settings under libtorrent's names."""
    from libtorrent import alert_category as category

    return {
        "user_agent": f"mistral7b/{__version__}",
        "alert_mask": category.error | category.status | category.connect | category.tracker | category.peer | category.storage,
        "alert_queue_size": 10_000,
        "listen_interfaces": ",".join(settings.listen),
        "enable_dht": settings.dht,
        "dht_bootstrap_nodes": ",".join(settings.dht_nodes),
        "enable_lsd": settings.lsd,
        "enable_upnp": settings.upnp,
        "enable_natpmp": settings.upnp,
        "webtorrent_stun_server": "",  # nobody is asked who we are
        # TCP first: uTP gives way to everything else, on a busy machine even to the machine. See swarm.py for when it is tried.
        "enable_outgoing_utp": False,
        "download_rate_limit": settings.down_limit,
        "upload_rate_limit": settings.up_limit,
        "connections_limit": settings.connections,
        "announce_to_all_trackers": True,
        "max_metadata_size": MAX_METADATA,
        "cache_size": _WRITE_CACHE // _BLOCK,
        "max_queued_disk_bytes": _WRITE_CACHE,
        "file_pool_size": 64,
    }


def _limit_everyone(session: lt.session) -> None:
    """libtorrent exempts the local network from rate limits, where a limit is meant as much as elsewhere."""
    import libtorrent as lt

    everyone = lt.ip_filter()
    for first, last in (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")):
        everyone.add_rule(first, last, 1 << lt.session.global_peer_class_id)
    session.set_peer_class_filter(everyone)
