"""fetch: a magnet link or .torrent -> a folder in quarantine, every piece held against its hash."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mistral7b.errors import StoreError
from mistral7b.release.events import Event, Metadata, Stalled, Staying, hashes_of
from mistral7b.release.extra import needed_for
from mistral7b.release.holding import Holding, hold
from mistral7b.release.inspect import Contents
from mistral7b.release.landed import landed
from mistral7b.release.metafile import metafile
from mistral7b.release.session import Settings, open_session, parse_peer

if TYPE_CHECKING:
    import libtorrent as lt

    from mistral7b.release.swarm import Swarm

Progress = Callable[[int, int], None]  # (bytes here, bytes wanted)

_TICK_S = 0.5
_STALL_TOLD_S = 10.0
_ANEW_S = 5.0
_STAY_S = 60.0
_NAMED = 4  # files in a message


def fetch(
    link: str | Path,
    target: Path,
    *,
    only: Sequence[str] = (),
    peers: Sequence[str] = (),
    settings: Settings | None = None,
    progress: Progress | None = None,
    events: Callable[[Event], None] | None = None,
    more: bool = False,
) -> Path:
    """Fetches the torrent `link` into a quarantine folder beside `target`, and returns the folder there that holds its files.

    Its names are inspected before a byte is written. `only` are patterns of the files wanted (none: all); `peers` are HOST:PORT
    to begin with. What arrives outlives a kill: the next call for the same target goes on from it. `progress` is told bytes,
    `events` everything else. Where `more` files will be asked for, those not wanted yet stay. Raises ReleaseError for a torrent
    that `inspect` refuses, StoreError for a link that is none, no peers, pieces that nobody has, or no room; each in one line,
    and what arrived is kept. Whoever takes the folder to its place has yet to sync it.
    """
    with needed_for("a torrent"):
        from mistral7b.release.link import key_of, read_link

    settings, tell = settings or Settings(), events or _nothing
    asked = read_link(link)
    with hold(target, key_of(asked)) as held, open_session(settings) as session:
        contents, chosen = _join(asked, held, session, settings=settings, peers=peers, only=only, progress=progress, tell=tell)
        for name in () if more else contents.files.keys() - set(chosen):
            (held.data / contents.name / name).unlink(missing_ok=True)
    return held.data / contents.name if contents.folder else held.data


def _join(
    asked: lt.add_torrent_params,
    held: Holding,
    session: lt.session,
    *,
    settings: Settings,
    peers: Sequence[str],
    only: Sequence[str],
    progress: Progress | None,
    tell: Callable[[Event], None],
) -> tuple[Contents, list[str]]:
    """(What the torrent holds, the names of what is now here of it)."""
    from mistral7b.release.link import examine, prepare, priorities, wanted
    from mistral7b.release.swarm import Swarm

    params = _known(asked, held)
    if params.ti is None:
        prepare(params, settings, peers, held.data)
        params = _with_metadata(params, session, settings, tell)
    info = params.ti
    assert info is not None
    contents = examine(info)
    chosen = wanted(contents, only)
    entire = len(chosen) == len(contents.files)

    def ready(params: lt.add_torrent_params) -> lt.add_torrent_params:
        prepare(params, settings, peers, held.data)
        params.file_priorities, params.piece_priorities = priorities(info, chosen), []
        _take_up(params, held)
        return params

    params = ready(params)
    tell(Metadata(contents.name, len(contents.files), info.num_pieces(), contents.size, hashes_of(info.info_hashes())))
    _check_room(held, sum(contents.files[name] for name in chosen), contents)
    since = time.monotonic()
    while True:
        swarm = Swarm(session, params, tell, utp=settings.trackers or settings.dht)
        try:
            since = _follow(swarm, held, contents, settings, progress, tell, since)
        except BaseException:
            with suppress(StoreError):  # the fault that ends it is told, not what it leads to
                _keep(held, swarm.save())
            raise
        if (whole := swarm.complete()) and entire:
            with suppress(StoreError, KeyboardInterrupt):  # all is here, whatever ends the stay
                _stay(swarm, tell)
        saved = _finish(swarm, held)
        if whole:
            break
        params = ready(_known(asked, held))
        # Of peers whose blocks lay in one wrong piece libtorrent may have banned the wrong one too: all but the first are free.
        params.banned_peers = [parse_peer(peer) for peer in swarm.banned[:1]]
    if entire and saved is not None and (torrent := metafile(saved, params.trackers, params.url_seeds)) is not None:
        held.settle(torrent)
    return contents, chosen


def _known(asked: lt.add_torrent_params, held: Holding) -> lt.add_torrent_params:
    """What an earlier call left, with the ways to peers of both; or what is asked for."""
    import libtorrent as lt

    from mistral7b.release.link import fresh, key_of

    try:
        kept = held.resume()
        params = asked if kept is None else lt.read_resume_data(kept)
    except RuntimeError:
        return asked  # what was kept is damaged, or of another version; the data itself is found again
    if params.ti is None or key_of(params) != key_of(asked):
        return asked
    if params is not asked:
        params.trackers = list(dict.fromkeys([*asked.trackers, *params.trackers]))
        params.tracker_tiers = []
        params.url_seeds = list(dict.fromkeys([*asked.url_seeds, *params.url_seeds]))
        params.peers = fresh(asked.peers, params.peers)
    return params


def _take_up(params: lt.add_torrent_params, held: Holding) -> None:
    """Goes on from the blocks that lie on the disk. None is taken for right until its piece is hashed again, so that neither a
    kill nor a power cut, nor a changed file, leaves anything behind but pieces to fetch."""
    from mistral7b.release.link import extents

    info = params.ti
    assert info is not None
    params.unfinished_pieces = landed(extents(info, held.data), info.piece_length())
    params.have_pieces = [False] * info.num_pieces() if params.unfinished_pieces else []


def _with_metadata(
    params: lt.add_torrent_params, session: lt.session, settings: Settings, tell: Callable[[Event], None]
) -> lt.add_torrent_params:
    """`params` with the metadata that a peer gave. The torrent then leaves the session: no file of it was wanted, none made."""
    import libtorrent as lt

    from mistral7b.release.swarm import Swarm

    params.flags |= lt.torrent_flags.default_dont_download
    swarm = Swarm(session, params, tell, utp=settings.trackers or settings.dht)
    end = time.monotonic() + settings.patience_s
    while swarm.handle.torrent_file() is None:
        now = swarm.pump(_TICK_S)
        if time.monotonic() > end:
            found = f"{now.peers} peers gave none" if now.peers else "no peer was found"
            raise StoreError(
                f"the link's metadata did not arrive in {settings.patience_s:.0f} s: {found}; try later, or name a peer"
            )
    saved = swarm.save()
    swarm.close()
    if saved is None:
        raise StoreError("libtorrent did not hand over the link's metadata; run it again")
    return lt.read_resume_data(saved)


def _follow(
    swarm: Swarm,
    held: Holding,
    contents: Contents,
    settings: Settings,
    progress: Progress | None,
    tell: Callable[[Event], None],
    since: float,
) -> float:
    """Waits until all is here, or until nothing came for so long that it is better begun anew: libtorrent can be left waiting for
    blocks that nobody sends once a peer was banned. Returns when something last arrived, from `since` on. Raises StoreError when
    nothing has for the settings' patience."""
    best, begun, told = -1, time.monotonic(), None
    clock = begun
    swarm.request_save()  # the metadata, before anything else
    while not swarm.complete():
        now = swarm.pump(_TICK_S)
        tell(now)
        if progress is not None and now.total:
            progress(now.done, now.total)
        _keep(held, swarm.saved())
        before, clock = clock, time.monotonic()
        if swarm.checking() or best < 0:
            best, begun, since = max(best, now.done), clock, since + clock - before  # reading what is here is not waiting
        elif now.done > best:
            best, since, begun, told = now.done, clock, clock, None
        elif clock - since > settings.patience_s:
            raise StoreError(_why_stalled(swarm.stalled(), contents, settings))
        elif clock - since > min(_STALL_TOLD_S, settings.patience_s / 2) and (stalled := swarm.stalled()) != told:
            tell(stalled)
            told = stalled
        if swarm.banned and clock - begun > _ANEW_S:
            break
    return since


def _why_stalled(stalled: Stalled, contents: Contents, settings: Settings) -> str:
    if stalled.nowhere:
        whom = f"none of {stalled.peers} peers has them" if stalled.peers else "no peer is there"
        names = sorted(stalled.lacking, key=lambda name: -stalled.lacking[name])
        others = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        why = (
            f"{stalled.nowhere} of {stalled.pieces} pieces of {contents.name} have no seed ({whom}): "
            f"{sum(stalled.lacking.values()):,} bytes of {', '.join(names[:_NAMED])}{others} are missing"
        )
    else:
        why = f"{stalled.peers} peers of {contents.name} sent nothing for {settings.patience_s:.0f} s"
    return f"{why}; what arrived is kept: run it again later, or name another peer"


def _stay(swarm: Swarm, tell: Callable[[Event], None]) -> None:
    """Where the seed is gone, the first to have all pieces may be the only one to have some of them: it stays while others fetch,
    but not for long, since a swarm may have no end."""
    end = time.monotonic() + _STAY_S
    while (peers := swarm.asking()) and time.monotonic() < end:
        tell(Staying(peers))
        swarm.pump(_TICK_S)


def _finish(swarm: Swarm, held: Holding) -> bytes | None:
    """All of it with the system, its files closed; what was kept."""
    saved = swarm.save()
    swarm.close()
    _keep(held, saved)
    return saved


def _keep(held: Holding, saved: bytes | None) -> None:
    if saved is not None:
        held.keep(saved)


def _check_room(held: Holding, needs: int, contents: Contents) -> None:
    here = sum(path.stat().st_blocks * 512 for path in held.data.rglob("*") if path.is_file())
    if (free := shutil.disk_usage(held.data).free) < needs - here:
        raise StoreError(
            f"{contents.name} needs {(needs - here) / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB free; make room first"
        )


def _nothing(event: Event) -> None:
    """Where nobody listens."""
