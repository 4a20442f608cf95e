"""One libtorrent session from settings: where it listens, how it finds peers, how much it may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from mistral7b import __version__
from mistral7b.errors import StoreError
from mistral7b.release.extra import needed_for
from mistral7b.release.landed import BLOCK

if TYPE_CHECKING:
    import libtorrent as lt

MAX_METADATA = 16 << 20  # bytes; a 14 GB release has 0.1 MB of it
# libtorrent's disk room that writes each block as it comes, by several threads; its default one keeps whole pieces back in
# memory, which a kill would lose. With no file mapped, none counts as memory of this process.
DISK = "mmap_disk_io_constructor"
_NEVER_MAPPED = 1 << 30
# What a kill can lose: the blocks on their way from a peer, 0.6 MiB, which still is 6.5 MB/s from one that is 100 ms away; and
# those not yet handed to the system.
_ASKED = 40
_UNWRITTEN = 1 << 20  # bytes
_TICK_MS = 100
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9}
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


def parse_rate(text: str) -> int:
    """Bytes a second of "500k", "2.5M" or "1000000"; raises StoreError."""
    number, unit = (text[:-1], text[-1:].lower()) if text[-1:].lower() in _UNITS else (text, "")
    try:
        rate = float(number) * _UNITS.get(unit, 1)
    except ValueError:
        rate = -1.0
    if not 1 <= rate < 1e12:
        raise StoreError(f"{text!r} is no rate; write bytes a second, as in 500k or 2.5M")
    return int(rate)


@contextmanager
def open_session(settings: Settings) -> Iterator[lt.session]:
    """A running session; on leaving it says goodbye to its peers. Raises ReleaseError if libtorrent is not installed."""
    with needed_for("a torrent"):
        import libtorrent as lt

    params = lt.session_params()
    params.settings = pack(settings)
    params.disk_io_constructor = DISK
    session = lt.session(params)
    _limit_everyone(session)
    try:
        yield session
    finally:
        session.pause()


def pack(settings: Settings) -> lt.settings_pack:
    """The settings under libtorrent's names."""
    from libtorrent import alert_category as category

    return {
        "user_agent": f"mistral7b/{__version__}",
        "alert_mask": category.error | category.status | category.connect | category.tracker | category.peer | category.storage,
        "alert_queue_size": 10_000,
        "listen_interfaces": ",".join(settings.listen),
        "outgoing_interfaces": ",".join(_own_addresses(settings)),
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
        "mmap_file_size_cutoff": _NEVER_MAPPED,
        "max_allowed_in_request_queue": _ASKED,
        "max_out_request_queue": _ASKED,  # of peers that allow more, too
        "max_queued_disk_bytes": _UNWRITTEN,
        # In the first seconds, when its rate is not known yet, a peer's blocks are read together and not one by one.
        "send_buffer_low_watermark": _ASKED * BLOCK,
        "tick_interval": _TICK_MS,  # how soon a peer is called that was told of; half a second otherwise
        "min_reconnect_time": 5,
    }


def _own_addresses(settings: Settings) -> list[str]:
    """The addresses to speak from: those listened on, unless one of them stands for all of the machine's."""
    hosts = [parse_peer(where, any_port=True)[0] for where in settings.listen]
    return [] if {"0.0.0.0", "::"}.intersection(hosts) else hosts


def _limit_everyone(session: lt.session) -> None:
    """libtorrent exempts the local network from rate limits, where a limit is meant as much as elsewhere."""
    import libtorrent as lt

    everyone = lt.ip_filter()
    for first, last in (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")):
        everyone.add_rule(first, last, 1 << lt.session.global_peer_class_id)
    session.set_peer_class_filter(everyone)
