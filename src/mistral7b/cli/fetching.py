"""How names that are links, .torrent files or launches are fetched for every verb that takes a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mistral7b.store.names import Fetcher, Progress


def fetchers() -> Mapping[str, Fetcher]:
    """What `store.names.resolve` cannot do by itself, since it stands below the rooms that can."""
    from mistral7b.store.names import LAUNCHED, TORRENT

    return dict.fromkeys(("magnet", "http", "https", TORRENT, LAUNCHED), _fetch)


def _fetch(name: str, progress: Progress | None) -> Path:
    from mistral7b.release.get import get
    from mistral7b.release.home import find_home
    from mistral7b.release.launch import find

    source = find(name)
    assert source is not None  # one of those named above
    return get(
        source, find_home(), progress=lambda done, total, _: progress(done, total) if progress is not None else None
    ).folder
