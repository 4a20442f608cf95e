"""fetch: a hub id -> a verified local folder with one format of the weights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # documented, but exported late

from mistral7b import __version__
from mistral7b.errors import StoreError
from mistral7b.store.cache import CachePlace, FolderPlace
from mistral7b.store.listing import RemoteFile, choose
from mistral7b.store.names import Progress
from mistral7b.store.transfer import mismatch, transfer
from mistral7b.variants import VARIANTS

_HttpError: type[Exception] = HfHubHTTPError.__bases__[0]  # of httpx or httpx2, whichever the hub's client brings
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
_SHA1, _SHA256 = re.compile(r"[0-9a-f]{40}", re.ASCII), re.compile(r"[0-9a-f]{64}", re.ASCII)


def fetch(
    hub_id: str,
    *,
    revision: str | None = None,
    target: Path | None = None,
    progress: Progress | None = None,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """Downloads one format of the model `hub_id` at `revision` (None: main) into the folder `target`, or into the hub's cache,
    and returns the folder. Resumes what broke off; a file that is here already is verified, not fetched again.

    Every file is held against the hash that the hub states, and those of a published model against the official ones
    (variants.py). `endpoint` and `cache` replace HF_ENDPOINT and HF_HUB_CACHE. Raises StoreError, one line: no network, no
    such model or revision, no access, no weights that can be read, no room, or a hash that differs.
    """
    revision = revision or "main"
    if not _REVISION.fullmatch(revision) or ".." in revision.split("/"):
        raise StoreError(f"{revision!r} is no revision of a hub model; give a branch, a tag or a commit")
    with _in_one_line(hub_id, revision):
        commit, listing = _list(hub_id, revision, endpoint)
        place = CachePlace(cache, hub_id, commit) if target is None else FolderPlace(target)
        files = choose(hub_id, listing, have={file.name for file in listing if place.holds(file)})
        _check_official(hub_id, files)
        place.folder.mkdir(parents=True, exist_ok=True)
        _check_room(place, files)
        headers = {**build_hf_headers(library_name="mistral7b", library_version=__version__), "Accept-Encoding": "identity"}
        total, done = sum(file.size for file in files), 0
        for file in files:
            at = _offset(progress, done, total)
            if place.holds(file):
                _check_held(file, place.path(file))
            else:
                transfer(file, hf_hub_url(hub_id, file.name, revision=commit, endpoint=endpoint), headers, place.path(file), at)
            place.name(file)
            at(file.size)
            done += file.size
        place.refer(revision)
    return place.folder


def _list(hub_id: str, revision: str, endpoint: str | None) -> tuple[str, list[RemoteFile]]:
    """(The commit, its files in the top folder). What the hub says is checked before it names a path on this disk."""
    info = HfApi(endpoint=endpoint).model_info(hub_id, revision=revision, files_metadata=True)
    files = []
    for sibling in info.siblings or []:
        sha256 = sibling.lfs.sha256 if sibling.lfs is not None else None
        if "/" in sibling.rfilename or "\\" in sibling.rfilename:
            continue
        if sibling.size is None or not _SHA1.fullmatch(sibling.blob_id or "") or not _SHA256.fullmatch(sha256 or "0" * 64):
            raise StoreError(f"the hub states no size and hash for {sibling.rfilename} of {hub_id}; try again later")
        files.append(RemoteFile(sibling.rfilename, sibling.size, sha256, sibling.blob_id or ""))
    if not _SHA1.fullmatch(info.sha or ""):
        raise StoreError(f"the hub states no commit for {hub_id} at {revision}; try again later")
    return info.sha or "", files


def _check_official(hub_id: str, files: list[RemoteFile]) -> None:
    """The hub's hashes against ours, before a byte is fetched."""
    official = next((variant.sha256 for variant in VARIANTS.values() if variant.hub_id == hub_id), {})
    for file in files:
        if file.sha256 is not None and official.get(file.name, file.sha256) != file.sha256:
            raise StoreError(
                f"the hub now states sha256 {file.sha256} for {file.name} of {hub_id}, published with {official[file.name]}; "
                "name the revision that you trust"
            )


def _check_held(file: RemoteFile, path: Path) -> None:
    if (found := mismatch(file, path)) is not None:
        raise StoreError(f"{path} is here already and differs from the hub's ({found}); move it away and download again")


def _check_room(place: CachePlace | FolderPlace, files: list[RemoteFile]) -> None:
    needs = sum(file.size for file in files if not place.holds(file))
    parts = (place.path(file) for file in files if not place.holds(file))
    needs -= sum(part.stat().st_size for path in parts if (part := path.with_name(f"{path.name}.part")).is_file())
    if (free := shutil.disk_usage(place.folder).free) < needs:
        raise StoreError(f"{place.folder} needs {needs / 1e9:.1f} GB and its disk has {free / 1e9:.1f} GB free; make room first")


def _offset(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    """Tells `progress` about one file's bytes, which come after `done` others."""

    def at(n_bytes: int) -> None:
        if progress is not None:
            progress(done + n_bytes, total)

    return at


@contextmanager
def _in_one_line(hub_id: str, revision: str) -> Iterator[None]:
    """Turns what the hub's client raises into StoreErrors that say what to do."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise StoreError(f"{hub_id} cannot be downloaded: HF_HUB_OFFLINE is set; unset it, or pass a folder") from None
    except HFValidationError:
        raise StoreError(f"{hub_id!r} is no hub id; write organisation/name, as in mistralai/Mistral-7B-v0.3") from None
    except RevisionNotFoundError:
        raise StoreError(f"{hub_id} has no revision {revision!r}; leave it out for the newest") from None
    except HfHubHTTPError as error:
        raise StoreError(_refused(hub_id, error)) from None
    except _HttpError as error:
        why = str(error).splitlines()[:1] or [type(error).__name__]
        raise StoreError(
            f"the hub cannot be reached for {hub_id} ({why[0]}); check network and proxy and run it again, or pass a folder"
        ) from None
    except OSError as error:
        why = (error.strerror or str(error)).splitlines()[:1] or [type(error).__name__]
        raise StoreError(f"{hub_id} was not stored ({why[0]}); what arrived is kept, run it again to resume") from None


def _refused(hub_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return f"{hub_id} is gated: accept its licence on its hub page, then set HF_TOKEN to a token of that account"
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return f"the hub has no model {hub_id}, or it is private; check the spelling, or set HF_TOKEN for a private one"
    if status in (401, 403):
        return f"the hub refuses {hub_id} with this token ({status}); set HF_TOKEN to one that may read it"
    return f"the hub answered {status} for {hub_id}; try again later: what arrived is kept"
