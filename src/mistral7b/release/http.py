"""One file over plain HTTP(S) to this disk: resumed where it broke off, hashed while it streams, named only when right."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from mistral7b import __version__
from mistral7b.checkpoint.digest import BLOCK
from mistral7b.errors import StoreError

At = Callable[[int], None]  # told how many bytes of the file are here
_MOST = 1 << 40  # bytes of a file whose size nobody stated
SMALL = 16 << 20  # bytes; the most that a manifest, a signature or a .torrent may have
_LOOK = 1 << 30  # bytes after which the room is looked at again, and that are left free
_TIMEOUT = 60.0  # seconds without a byte
_TRIES = 5  # in a row that bring nothing
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)", re.ASCII)
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


@dataclass(frozen=True, slots=True)
class Stated:
    """What is known of a file before it comes; `digest` in lower-case hex, `size` in bytes."""

    algorithm: str = "sha256"
    digest: str | None = None
    size: int | None = None


UNKNOWN = Stated()


@dataclass(slots=True)
class _Hashes:
    """The digests of what is in the part file; fed in the order of the file."""

    algorithm: str
    found: dict[str, Any] = field(default_factory=dict)

    def restart(self, part: BinaryIO | None = None) -> None:
        self.found = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", self.algorithm}}
        while part is not None and (block := part.read(BLOCK)):
            self.update(block)

    def update(self, block: bytes) -> None:
        for digest in self.found.values():
            digest.update(block)


def forget(path: Path) -> None:
    """Removes what a broken transfer left of `path`, which came another way since."""
    for ending in (".part", ".part.tag"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def get(
    url: str, path: Path, stated: Stated = UNKNOWN, *, at: At = lambda _: None, pause: Callable[[float], None] = time.sleep
) -> str:
    """Fetches `url` as `path` and returns its sha256.

    What arrived of a broken transfer stays beside it as `.part` and is continued by the next try or call, unless the file on
    the server has changed since. Raises StoreError, one line: not found, no answer after several tries, no room, or bytes
    that are not the stated ones (which are thrown away).
    """
    part, tag = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.tag")
    hashes, idle = _Hashes(stated.algorithm), 0
    with part.open("a+b", buffering=0) as out:
        if not tag.is_file() and stated.digest is None:
            out.truncate(0)  # nothing would tell whether the rest belongs to it
        out.seek(0)
        hashes.restart(out)
        while True:
            have = out.seek(0, os.SEEK_END)
            at(have)
            try:
                if have != stated.size:
                    _continue(url, out, tag, stated, hashes, at)
                break
            except (OSError, http.client.HTTPException) as error:
                idle = 0 if out.seek(0, os.SEEK_END) > have else idle + 1
                _give_up(url, error, idle)
                pause(min(2.0**idle, 30.0))
        os.fsync(out.fileno())
        size = out.seek(0, os.SEEK_END)
    tag.unlink(missing_ok=True)
    if (found := hashes.found[stated.algorithm].hexdigest()) != (stated.digest or found) or size != (stated.size or size):
        part.unlink()
        raise StoreError(
            f"{url} is not the file it should be: {size:,} bytes with {stated.algorithm} {found} where {stated.digest} "
            "is stated; it was thrown away: try another mirror"
        )
    os.replace(part, path)
    return str(hashes.found["sha256"].hexdigest())


def get_small(
    url: str, path: Path, *, pause: Callable[[float], None] = time.sleep, tries: int = _TRIES, timeout: float = _TIMEOUT
) -> bool:
    """Fetches a file of at most SMALL bytes as `path`, never from a part; False if the server has none. Raises StoreError."""
    for n in range(_TRIES + 1 - tries, _TRIES + 1):
        try:
            with _open(url, {}, timeout) as answer:
                data = answer.read(SMALL + 1)
            break
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                return False
            _give_up(url, error, n)
        except (OSError, http.client.HTTPException) as error:
            _give_up(url, error, n)
        pause(2.0**n)
    if len(data) > SMALL:
        raise StoreError(f"{url} has more than {SMALL >> 20} MiB, which no file of its kind has; it was not fetched")
    path.write_bytes(data)
    return True


def _continue(url: str, out: BinaryIO, tag: Path, stated: Stated, hashes: _Hashes, at: At) -> None:
    """Appends what is missing to `out`; starts it over where the server cannot continue this very file."""
    have = out.seek(0, os.SEEK_END)
    headers = {} if not have else {"Range": f"bytes={have}-"}
    if have and tag.is_file():
        headers["If-Range"] = tag.read_text(encoding="latin-1")
    try:
        answer = _open(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        answer = _open(url, {})  # the file there is shorter than the part here
    with answer:
        shown = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status != 206 or shown is None or int(shown[1]) != have:
            have = out.truncate(0)
            hashes.restart()
            if answer.status == 206:
                raise ConnectionError("the server answered with another range than was asked for")
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if validator and not validator.startswith("W/"):
            tag.write_text(validator, encoding="latin-1")
        length = answer.headers.get("Content-Length")
        total = stated.size if stated.size is not None else None if length is None else have + int(length)
        _check_room(url, out, total, have)
        while block := answer.read(min(BLOCK, BLOCK if total is None else total + 1 - have)):
            if total is None and have % _LOOK < BLOCK:
                _check_endless(url, out, have)
            out.write(block)
            hashes.update(block)
            have += len(block)
            at(have)
            if total is not None and have > total:
                return  # longer than stated: the caller sees it
    if total is not None and have < total:
        raise ConnectionError(f"it broke off after {have:,} of {total:,} bytes")


def _check_endless(url: str, out: BinaryIO, have: int) -> None:
    """For a stream without a stated end: it may fill neither the disk nor all time."""
    if have >= _MOST:
        raise StoreError(
            f"{url} is still sending after {have / 1e9:.1f} GB, which no model has; name an address that states a size"
        )
    _check_room(url, out, have + _LOOK, have)


def _check_room(url: str, out: BinaryIO, total: int | None, have: int) -> None:
    free = shutil.disk_usage(Path(out.name).parent).free
    if total is not None and free < total - have:
        raise StoreError(
            f"{url} needs {(total - have) / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB free; make room first"
        )


def _open(url: str, headers: dict[str, str], timeout: float = _TIMEOUT) -> Any:
    asked = {"User-Agent": f"mistral7b/{__version__}", "Accept-Encoding": "identity", **headers}
    opener = urllib.request.build_opener(_NoDowngrade)
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise StoreError(f"{url} is no http or https address")
        answer = opener.open(urllib.request.Request(url, headers=asked), timeout=timeout)
        if not 0 <= int(length := answer.headers.get("Content-Length", "0")) < 1 << 63:
            raise ValueError(f"{length[:20]} bytes")
    except (ValueError, OverflowError) as error:  # of an address, a redirect's too, or of that number
        raise StoreError(f"{url} cannot be fetched: the address, or the answer, is malformed ({error}); name another") from None
    return answer


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from https to something that anyone on the way can change."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        wanted = ("https",) if req.full_url.startswith("https:") else ("http", "https")
        if urlsplit(newurl).scheme not in wanted:
            raise StoreError(f"{req.full_url} leads on to {newurl}, which is not followed; name an address that answers itself")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _give_up(url: str, error: Exception, idle: int) -> None:
    """Raises StoreError unless another try makes sense; `idle` tries in a row brought nothing."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code not in _TRANSIENT or idle >= _TRIES:
            raise StoreError(f"{url} cannot be fetched: the server answered {error.code}; check the address") from None
    elif isinstance(error, OSError) and error.errno in _DISK:
        raise StoreError(f"{url} was not stored ({error.strerror}); what arrived is kept, run it again to resume") from None
    elif idle >= _TRIES:
        why = str(getattr(error, "reason", "") or error).splitlines()[:1] or [type(error).__name__]
        raise StoreError(
            f"{url} cannot be reached ({why[0]}); check network and proxy and run it again: what arrived is kept"
        ) from None
