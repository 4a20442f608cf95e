"""How a torrent's peers find one another: trackers, web seeds, DHT nodes and peers by address, checked before they are printed
into a link that nobody can call back."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from mistral7b.errors import ReleaseError

_TRACKERS = ("udp", "http", "https")
_WEB = ("http", "https")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """`trackers` and `web_seeds` are URLs, a web seed that of the folder in which the release's own folder stands (BEP 19).

    `peers`, IP:PORT or [IPv6]:PORT, go into the magnet link, DHT `nodes`, HOST:PORT, into the torrent. A `private` torrent is
    found through its trackers and peers alone (BEP 27).
    Raises ReleaseError for an address that no client could use.
    """

    trackers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    private: bool = False

    def __post_init__(self) -> None:
        folders = (seed if seed.endswith("/") else f"{seed}/" for seed in self.web_seeds)
        object.__setattr__(self, "trackers", _urls("tracker", self.trackers, _TRACKERS))
        object.__setattr__(self, "web_seeds", _urls("web seed", folders, _WEB))
        object.__setattr__(self, "nodes", tuple(dict.fromkeys(self.nodes)))
        object.__setattr__(self, "peers", tuple(dict.fromkeys(self.peers)))
        for node in self.nodes:
            host_and_port("DHT node", node)
        for peer in self.peers:
            host, _ = host_and_port("peer", peer)
            try:
                ipaddress.ip_address(host.replace("%", "/"))  # a zone, "%eth0", is of one machine only
            except ValueError:
                raise ReleaseError(f"the peer {peer!r} is no address; give it as IP:PORT, or [IPv6]:PORT") from None
        if self.private and self.nodes:
            raise ReleaseError("a private torrent does not use the DHT; leave out its nodes, or --private")
        if self.private and not self.trackers and not self.peers:
            raise ReleaseError("nobody could find a private torrent without a tracker or a peer; add one, or leave out --private")


def host_and_port(what: str, text: str) -> tuple[str, int]:
    """The two parts of HOST:PORT or [IPv6]:PORT; raises ReleaseError naming `what` it should be."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or text not in (f"{host}:{port}", f"[{host}]:{port}"):
        raise ReleaseError(f"the {what} {text!r} is not of the form HOST:PORT")
    return host, port


def _urls(what: str, given: Iterable[str], schemes: tuple[str, ...]) -> tuple[str, ...]:
    """Each URL once, in the order given."""
    urls = tuple(dict.fromkeys(given))
    for url in urls:
        try:
            parts = urlsplit(url)
            fit = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fit = False
        if not fit or not url.isascii() or not url.isprintable() or " " in url:
            raise ReleaseError(f"the {what} {url!r} is no URL that clients can use; give {' or '.join(schemes)}://HOST...")
        if parts.username is not None:
            raise ReleaseError(f"the {what} {parts.hostname} has a name and password in its URL, which everyone would read")
    return urls
