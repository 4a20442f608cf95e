"""resolve: whatever a user calls a model -> a path that `checkpoint` can open."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

from mistral7b.errors import StoreError
from mistral7b.variants import VARIANTS

Progress = Callable[[int, int], None]  # (bytes here, bytes in all)
Fetcher = Callable[[str, Progress | None], Path]

EMBEDDED = ("tiny", "tiny-instruct")
# Keys of fetchers: for hub ids, a .torrent on this disk, a published model that is not on the hub; the others are URL schemes.
HUB, TORRENT, LAUNCHED = "hub", "torrent", "launched"
_HUB_ID = re.compile(r"(?=.{3,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):", re.ASCII)
_FILES = (".gguf", ".pth", ".pt", ".bin", ".safetensors", ".json")


def resolve(
    name: str | Path,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    fetchers: Mapping[str, Fetcher] | None = None,
) -> Path:
    """The local folder or file of a model.

    In this order: an embedded model's name; a folder or file that exists; a variant's name ("v0.3-instruct"); a URL or
    magnet link; a hub id, from the hub's cache if it is whole there, else downloaded unless `offline` or HF_HUB_OFFLINE. A
    `Path` is never anything but a path. `fetchers` adds ways to fetch, by URL scheme, for what a .torrent names (`TORRENT`) and
    for published models that are not on the hub (`LAUNCHED`), or replaces the hub's under `HUB`. Raises StoreError, one line,
    for a name that leads nowhere.
    """
    fetchers = fetchers or {}
    if isinstance(name, str) and name in EMBEDDED:
        return _embedded(name)
    if (path := _standing(name)) is not None:
        torrent = path.suffix == ".torrent" and path.is_file()
        return fetchers[TORRENT](str(path), progress) if torrent and TORRENT in fetchers else path
    name = str(name) if isinstance(name, str) else f"./{name}" if not name.is_absolute() else str(name)
    if name.lower() in VARIANTS:
        if VARIANTS[name.lower()].hub_id is None and LAUNCHED in fetchers:
            return fetchers[LAUNCHED](name.lower(), progress)
        name = _hub_id(name.lower())
    if scheme := _SCHEME.match(name):
        return _fetch_link(name, scheme[1].lower(), progress, fetchers)
    if not _HUB_ID.fullmatch(name) or name.endswith(_FILES) or _standing(Path(name).parent):
        raise StoreError(_nowhere(name))
    return _from_hub(name, offline, progress, fetchers.get(HUB))


def _standing(name: str | Path) -> Path | None:
    """`name` as a path that exists; None for one that does not, or that no file system could hold."""
    try:
        path = Path(name).expanduser()
        return path if str(name) and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, a home of no user, a NUL
        return None


def _embedded(name: str) -> Path:
    folder = Path(str(files("mistral7b.models"))) / name
    if not any(folder.glob("*.safetensors")):
        there = [known for known in EMBEDDED if any((folder.parent / known).glob("*.safetensors"))]
        instead = f"take {', '.join(there)}" if there else "pass a model folder"
        raise StoreError(f"this installation does not carry {name}; {instead}, or install a version that does")
    return folder


def _hub_id(name: str) -> str:
    if (hub_id := VARIANTS[name].hub_id) is None:
        raise StoreError(
            f"{name} is not on the hub: it was published as mistral-7B-{name}.tar; run `mistral7b download {name}` and pass the "
            "folder that it names"
        )
    return hub_id


def _fetch_link(link: str, scheme: str, progress: Progress | None, fetchers: Mapping[str, Fetcher]) -> Path:
    if scheme not in fetchers:
        raise StoreError(f"{scheme} links are not fetched here; run `mistral7b download` on it and pass the folder that it names")
    return fetchers[scheme](link, progress)


def _from_hub(hub_id: str, offline: bool, progress: Progress | None, fetcher: Fetcher | None) -> Path:
    # Half a second to import, which those who name a folder need not wait for.
    from huggingface_hub import constants

    from mistral7b.store.cache import cached
    from mistral7b.store.hub import fetch
    from mistral7b.tokens.tokenizer import find_tokenizer

    offline = offline or bool(constants.HF_HUB_OFFLINE)
    if fetcher is None:
        here = cached(hub_id)
        # Other programs fetch no tokenizer.model; what they left is a whole model only to those who cannot fetch it.
        if here is not None and (offline or find_tokenizer(here) is not None):
            return here
    if offline:
        raise StoreError(f"{hub_id} is not in the hub's cache and this is offline; go online once, or pass a folder")
    return fetch(hub_id, progress=progress) if fetcher is None else fetcher(hub_id, progress)


def _nowhere(name: str) -> str:
    if not name:
        return "the model's name is empty; give a folder, a .gguf file, tiny, tiny-instruct, a variant such as v0.3, or a hub id"
    if "/" in name or "\\" in name or name.endswith(_FILES) or name.startswith(("~", ".")):
        return f"{name if name.isprintable() else repr(name)} does not exist; give a model folder or a .gguf file"
    near = difflib.get_close_matches(name.lower(), [*EMBEDDED, *VARIANTS], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"there is no model {name!r}: {hint}names are {', '.join([*EMBEDDED, *VARIANTS])}, a folder, a .gguf file or a hub id"
