"""A magnet link or a .torrent file as what a session can add, and a torrent's metadata as inspected contents."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path

import libtorrent as lt

from mistral7b.errors import ReleaseError, StoreError
from mistral7b.release.inspect import Contents, inspect
from mistral7b.release.landed import Extent
from mistral7b.release.session import MAX_METADATA, Settings, parse_peer

_MAGNET = re.compile(r"magnet:\?", re.IGNORECASE)
_SKIP, _FETCH = 0, 4  # libtorrent's priorities of a file


def read_link(link: str | Path) -> lt.add_torrent_params:
    """Raises StoreError for a link or a file that is none, ReleaseError for a torrent that `inspect` refuses."""
    try:
        if isinstance(link, str) and _MAGNET.match(link):
            return lt.parse_magnet_uri(link)
        return read_torrent(Path(link).expanduser())
    except RuntimeError as error:
        raise StoreError(f"{str(link)[:80]!r} is no magnet link: {_why(error)}") from None


def read_torrent(path: Path) -> lt.add_torrent_params:
    """The .torrent file `path`, inspected. Raises StoreError if it cannot be read or is none, ReleaseError if it is refused."""
    try:
        with path.open("rb") as file:
            data = file.read(2 * MAX_METADATA)
        params = lt.load_torrent_buffer(data)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
    except RuntimeError as error:
        raise StoreError(f"{path} is no .torrent file: {_why(error)}") from None
    assert params.ti is not None
    examine(params.ti)
    return params


def key_of(params: lt.add_torrent_params) -> str:
    """The torrent's hash in hex: v1 if it is known, for every link to a hybrid or older torrent names it."""
    hashes = params.info_hashes
    return str(hashes.v1 if hashes.has_v1() else hashes.v2)


def examine(info: lt.torrent_info) -> Contents:
    """`inspect` over the bytes that the info hash is of, and over what libtorrent itself would write. Raises ReleaseError."""
    raw = info.info_section()
    contents = inspect(lt.bdecode(raw), raw)
    files = info.layout()
    paths = [Path(files.file_path(at)) for at in range(files.num_files()) if not _is_pad(files, at)]
    root = Path(contents.name) if contents.folder else Path()
    if paths != [root / name for name in contents.files]:
        raise ReleaseError("the torrent is refused: its names can be read in two ways")
    return contents


def extents(info: lt.torrent_info, folder: Path) -> list[Extent]:
    """Where the bytes of the torrent lie under `folder`."""
    files = info.layout()
    return [
        Extent(
            None if _is_pad(files, at) else folder / files.file_path(at), files.file_offset(at), files.file_size(at)
        )
        for at in range(files.num_files())
    ]  # fmt: skip


def wanted(contents: Contents, only: Sequence[str]) -> list[str]:
    """The files whose names match one of the patterns `only` (none: all). Raises StoreError if that leaves nothing to fetch."""
    names = [name for name in contents.files if not only or any(fnmatchcase(name, pattern) for pattern in only)]
    if not sum(contents.files[name] for name in names):
        raise StoreError(f"nothing in {contents.name} matches {', '.join(only)}; it holds {', '.join(contents.files)}")
    return names


def priorities(info: lt.torrent_info, names: Sequence[str]) -> list[int]:
    """One a file of the torrent, padding included."""
    files = info.layout()
    return [_FETCH if files.file_name(at) in names else _SKIP for at in range(files.num_files())]


def prepare(params: lt.add_torrent_params, settings: Settings, peers: Sequence[str], folder: Path) -> None:
    """Sets what the settings say of a torrent: which ways lead to its peers, the peers named, and where it is written."""
    flags = lt.torrent_flags
    params.save_path = str(folder)
    # What an earlier session left set, upload_mode after a full disk among it, is not for this one.
    for flag in (flags.auto_managed, flags.paused, flags.seed_mode, flags.default_dont_download, flags.upload_mode):
        params.flags &= ~flag
    params.flags |= flags.override_trackers | flags.override_web_seeds
    for wished, flag in ((settings.dht, flags.disable_dht), (settings.lsd, flags.disable_lsd), (settings.pex, flags.disable_pex)):
        params.flags = params.flags & ~flag if wished else params.flags | flag
    if not settings.trackers:
        params.trackers = []
    if not settings.web_seeds:
        params.url_seeds, params.http_seeds = [], []
    params.peers = fresh([found for peer in peers for found in _resolve(peer)], params.peers)


def fresh(named: Sequence[tuple[str, int]], remembered: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Both, but of one host only the port named: libtorrent keeps one a host, the last that it hears of."""
    hosts = {host for host, _ in named}
    return list(dict.fromkeys([*(peer for peer in remembered if peer[0] not in hosts), *named]))


def rename(params: lt.add_torrent_params, contents: Contents, folder: Path) -> None:
    """Lets the files of the torrent lie in `folder`, whatever the torrent calls it."""
    assert params.ti is not None
    files = params.ti.layout()
    if contents.folder and folder.name != contents.name:
        params.renamed_files = {
            at: f"{folder.name}/{files.file_name(at)}" for at in range(files.num_files()) if not _is_pad(files, at)
        }


def _resolve(peer: str) -> list[tuple[str, int]]:
    host, port = parse_peer(peer)
    try:
        return [(str(ip_address(host)), port)]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise StoreError(f"the peer {host} has no address here; check its name, or give its address") from None
    return sorted({(str(address[0]), port) for *_, address in found})


def _is_pad(files: lt.file_storage, at: int) -> bool:
    return bool(files.file_flags(at) & lt.file_storage.flag_pad_file)


def _why(error: RuntimeError) -> str:
    return str(error).split(" [")[0]
