"""Options of the verbs that speak BitTorrent, and the settings they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mistral7b.release.session import Settings

_PEERS, _LIMITS = "Peers", "Limits"

Peers = Annotated[
    list[str] | None,
    typer.Option("--peer", metavar="HOST:PORT", help="A peer to begin with; may be given several times.", rich_help_panel=_PEERS),
]
Listen = Annotated[
    list[str] | None,
    typer.Option("--listen", metavar="IP:PORT", help="Where peers reach this; default: every address, port 6881 or near it.",
                 rich_help_panel=_PEERS),
]  # fmt: skip
Lab = Annotated[
    bool,
    typer.Option("--lab", help="Peers on the same network, found by local discovery alone: no tracker, no DHT.",
                 rich_help_panel=_PEERS),
]  # fmt: skip
Dht = Annotated[bool, typer.Option("--dht/--no-dht", help="Find peers in the distributed hash table.", rich_help_panel=_PEERS)]
Trackers = Annotated[bool, typer.Option("--trackers/--no-trackers", help="Ask the torrent's trackers.", rich_help_panel=_PEERS)]
Pex = Annotated[bool, typer.Option("--pex/--no-pex", help="Let peers tell of other peers.", rich_help_panel=_PEERS)]
Lsd = Annotated[bool, typer.Option("--lsd/--no-lsd", help="Find peers on the local network.", rich_help_panel=_PEERS)]
Upnp = Annotated[bool, typer.Option("--upnp", help="Ask the router to let peers in.", rich_help_panel=_PEERS)]
Down = Annotated[
    str | None, typer.Option("--down", metavar="RATE", help="At most so many bytes a second, as in 500k or 2.5M.",
                             rich_help_panel=_LIMITS)
]  # fmt: skip
Up = Annotated[
    str | None, typer.Option("--up", metavar="RATE", help="Send at most so many bytes a second.", rich_help_panel=_LIMITS)
]
Connections = Annotated[
    int, typer.Option("--connections", metavar="N", min=1, help="Peers at a time.", show_default=True, rich_help_panel=_LIMITS)
]


def settings(
    *,
    listen: list[str] | None = None,
    lab: bool = False,
    dht: bool = True,
    trackers: bool = True,
    pex: bool = True,
    lsd: bool = True,
    web_seeds: bool = True,
    upnp: bool = False,
    down: str | None = None,
    up: str | None = None,
    connections: int = 200,
) -> Settings:
    """What these options ask for; raises StoreError for a value that makes no sense."""
    from mistral7b.release.session import Settings, parse_rate

    asked = Settings(
        listen=Settings().listen if listen is None else tuple(listen),
        dht=dht, trackers=trackers, pex=pex, lsd=lsd, web_seeds=web_seeds, upnp=upnp, connections=connections,
        down_limit=0 if down is None else parse_rate(down), up_limit=0 if up is None else parse_rate(up),
    )  # fmt: skip
    return asked.lab() if lab else asked
