"""`seed`: a release served to whoever asks, with its peers on the terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import options, swarm
from mistral7b.cli.help import examples
from mistral7b.cli.terminal import emit, note, printable, progress, size, tell

if TYPE_CHECKING:
    from rich.table import Table

    from mistral7b.release.events import Event, Traffic
    from mistral7b.release.seed import Peer, Seeding

EXAMPLES = examples(
    "mistral7b seed out/my-model --up 5M",
    "mistral7b seed my-model.torrent --data ./my-model --no-dht",
    "mistral7b seed out/my-model --lab --listen 192.168.1.7:6881",
)
_SHOWN = 20  # peers in the table
_SEVERAL = 1_000_000  # bytes that take long enough to check for a bar


def seed(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The folder of a release, or its .torrent file.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Where the files lie, if not beside the .torrent.")
    ] = None,
    peers: swarm.Peers = None,
    listen: swarm.Listen = None,
    lab: swarm.Lab = False,
    dht: swarm.Dht = True,
    trackers: swarm.Trackers = True,
    pex: swarm.Pex = True,
    lsd: swarm.Lsd = True,
    upnp: swarm.Upnp = False,
    up: swarm.Up = None,
    connections: swarm.Connections = 200,
    as_json: options.Json = False,
) -> None:
    """Serve a release to its peers.

    Every piece is checked first, and a folder that differs from its torrent is not served. Runs until Ctrl-C. With --json each
    event is one line: traffic at least twice a second, peers as they come and go.
    """
    from mistral7b.release.seed import seed as run

    asked = swarm.settings(
        listen=listen, lab=lab, dht=dht, trackers=trackers, pex=pex, lsd=lsd, upnp=upnp, up=up, connections=connections
    )
    for stop in (signal.SIGINT, signal.SIGTERM):  # as a service is stopped; a shell's background jobs begin with SIGINT ignored
        signal.signal(stop, signal.default_int_handler)
    now: Traffic | None = None
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        with progress("checking", at_least=_SEVERAL) as checked:
            told = _emit if as_json else _note
            seeding = stack.enter_context(
                run(source, data=data, settings=asked, peers=peers or (), progress=checked, events=told)
            )
        _announce(seeding, as_json=as_json)
        show = stack.enter_context(_screen(as_json))
        while True:
            now, connected = seeding.look()
            show(now, connected)
    if now is not None and not as_json:
        tell(f"stopped after sending {size(now.sent)}")


def _announce(seeding: Seeding, *, as_json: bool) -> None:
    contents = seeding.contents
    if as_json:
        emit({"event": "seeding", "name": contents.name, "folder": str(seeding.folder), "address": seeding.address,
              "bytes": contents.size, "v1": contents.v1, "v2": contents.v2})  # fmt: skip
    else:
        tell(f"{contents.name}: {size(contents.size)}, every piece right; served at {seeding.address} until Ctrl-C")


def _emit(event: Event) -> None:
    emit(event.to_json())


def _note(event: Event) -> None:
    from mistral7b.release.events import Trouble

    if isinstance(event, Trouble):
        note(event.text)


@contextmanager
def _screen(as_json: bool) -> Iterator[Callable[[Traffic, Sequence[Peer]], None]]:
    """Shows traffic as it is: a line of JSON a time, a live table on a terminal, nothing elsewhere."""
    if as_json or not sys.stderr.isatty():
        yield lambda now, _: emit(now.to_json()) if as_json else None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda now, connected: live.update(table(now, connected), refresh=True)


def table(now: Traffic, connected: Sequence[Peer]) -> Table:
    """The busiest peers, a line each, under the sum of all."""
    from rich.table import Table
    from rich.text import Text

    title = f"{now.peers} peers, {size(now.up_rate)}/s up, {size(now.sent)} sent"
    shown = Table("peer", "client", "has", "to it", "from it", title=title, box=None, title_justify="left")
    for peer in connected[:_SHOWN]:
        cells = (peer.address, peer.client, f"{peer.share:.0%}", f"{size(peer.up_rate)}/s", f"{size(peer.down_rate)}/s")
        shown.add_row(*(Text(printable(cell)) for cell in cells))
    return shown
