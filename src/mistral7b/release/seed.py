"""seed: a release on this disk, checked and then served to whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral7b.errors import StoreError
from mistral7b.release.events import Event, Metadata, Traffic, address
from mistral7b.release.extra import needed_for
from mistral7b.release.inspect import Contents
from mistral7b.release.session import Settings, open_session

if TYPE_CHECKING:
    import libtorrent as lt

    from mistral7b.release.swarm import Swarm

_TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class Peer:
    """A connected peer: what it calls itself, the share it has, and bytes a second from us and to us."""

    address: str
    client: str
    share: float
    up_rate: int
    down_rate: int


@dataclass(frozen=True, kw_only=True)
class Seeding:
    """A release being served. `address` is where peers reach it."""

    contents: Contents
    folder: Path
    address: str
    look: Callable[[], tuple[Traffic, Sequence[Peer]]]  # waits up to half a second for something to happen


@contextmanager
def seed(
    source: Path,
    *,
    data: Path | None = None,
    settings: Settings | None = None,
    peers: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
    events: Callable[[Event], None] | None = None,
) -> Iterator[Seeding]:
    """Checks a release against the hashes of its torrent, then serves it until the block ends.

    `source` is its .torrent file, or its folder with the .torrent beside or in it; `data` the folder of the files where they lie
    elsewhere. Nothing is written. `progress` is told bytes checked. Raises StoreError if either is not found, if a file differs
    from the torrent, or if no peer could reach this; ReleaseError for a torrent that `inspect` refuses.
    """
    with needed_for("a torrent"):
        from mistral7b.release.link import examine, prepare, read_torrent, rename
        from mistral7b.release.swarm import Swarm

    settings, tell = settings or Settings(), events or (lambda _: None)
    torrent = find_torrent(source)
    params = read_torrent(torrent)
    info = params.ti
    assert info is not None
    contents = examine(info)
    folder = find_data(torrent, source, data, contents)
    prepare(params, settings, peers, folder.parent if contents.folder else folder)
    rename(params, contents, folder)
    with open_session(settings) as session:
        swarm = Swarm(session, _read_only(params), tell, utp=False)
        tell(Metadata(contents.name, len(contents.files), info.num_pieces(), contents.size))
        _check(swarm, contents, progress)
        yield Seeding(
            contents=contents, folder=folder, address=f"{settings.listen[0].rpartition(':')[0]}:{_port(session)}",
            look=lambda: (swarm.pump(_TICK_S), _peers(swarm.handle)),
        )  # fmt: skip


def find_torrent(source: Path) -> Path:
    """The .torrent that `source` is, or that lies beside or in the folder it is. Raises StoreError unless there is just one."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise StoreError(f"{source} does not exist; give a .torrent file, or the folder of a release")
    source = source.absolute()
    beside = source.with_name(f"{source.name}.torrent")
    if beside.is_file():
        return beside
    inside = sorted(source.glob("*.torrent"))
    if len(inside) != 1:
        found = f"{len(inside)} .torrent files are in it" if inside else "no .torrent lies beside or in it"
        raise StoreError(f"{source} cannot be seeded: {found}; make one with mistral7b release, or name the .torrent itself")
    return inside[0]


def find_data(torrent: Path, source: Path, data: Path | None, contents: Contents) -> Path:
    """The folder with the files of the torrent. Raises StoreError if none of the likely ones holds them."""
    likely = [data] if data is not None else [source, torrent.parent / contents.name, torrent.parent]
    for folder in likely:
        if folder.is_dir() and all((folder / name).is_file() for name in contents.files):
            return folder.absolute()
    there = next((folder for folder in likely if folder.is_dir()), torrent.parent)
    missing = next(name for name in contents.files if not (there / name).is_file())
    raise StoreError(f"the files of {torrent.name} are not here ({missing} is missing); name their folder with --data")


def _read_only(params: lt.add_torrent_params) -> lt.add_torrent_params:
    """A seed mends nothing: a file that differs is for its owner to look at."""
    import libtorrent as lt

    params.flags |= lt.torrent_flags.upload_mode
    return params


def _check(swarm: Swarm, contents: Contents, progress: Callable[[int, int], None] | None) -> None:
    while swarm.checking():
        swarm.pump(_TICK_S)
        if progress is not None:
            progress(int(contents.size * swarm.handle.status().progress), contents.size)
    if swarm.complete():
        return
    raise StoreError(f"{differing(swarm.handle, contents)} of {contents.name} differs from the torrent; it is not served")


def differing(handle: lt.torrent_handle, contents: Contents) -> str:
    """The first file that is not all there, by name."""
    done = dict(zip((path.name for path in _paths(handle)), handle.file_progress(), strict=True))
    return next((name for name, size in contents.files.items() if done[name] < size), "a file")


def _paths(handle: lt.torrent_handle) -> list[Path]:
    info = handle.torrent_file()
    assert info is not None
    files = info.layout()
    return [Path(files.file_path(at)) for at in range(files.num_files())]


def _port(session: lt.session) -> int:
    port = session.listen_port()
    if not port:
        raise StoreError("no peer could reach this: it cannot listen on the addresses given; name another with --listen IP:PORT")
    return port


def _peers(handle: lt.torrent_handle) -> list[Peer]:
    """The busiest first."""
    found = [
        Peer(
            address(peer.ip),
            peer.client.decode("utf-8", "replace"),
            peer.progress,
            peer.payload_up_speed,
            peer.payload_down_speed,
        )
        for peer in handle.get_peer_info()
    ]
    return sorted(found, key=lambda peer: (-peer.up_rate, peer.address))
