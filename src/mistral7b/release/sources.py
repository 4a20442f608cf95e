"""What a link leads to: a swarm, a folder behind a web server, a tar or one file; and the name it goes by on this machine."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urldefrag, urlsplit

from mistral7b.errors import StoreError
from mistral7b.release.http import UNKNOWN, Stated
from mistral7b.release.inspect import PICKLES

Kind = Literal["magnet", "torrent", "folder", "tar", "file"]

_FILES = (".gguf", ".safetensors")
_TOPIC = re.compile(r"urn:(btih:(?:[0-9a-f]{40}|[a-z2-7]{32})|btmh:1220[0-9a-f]{64})", re.ASCII | re.IGNORECASE)
_DIGEST = re.compile(r"(md5=[0-9a-f]{32}|sha256=[0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """`link` is a magnet, an address or the path of a .torrent; `title` the last name in it; `hashes` the hex info hashes of a
    torrent, where they are known; `stated` what its fragment, or the table of launches, says of a single file; `variant` the
    published model that it must be; `mirrors` where its files lie too."""

    kind: Kind
    link: str
    title: str
    hashes: tuple[str, ...] = ()
    stated: Stated = UNKNOWN
    variant: str | None = None
    mirrors: tuple[str, ...] = ()

    def key(self, only: tuple[str, ...] = ()) -> str:
        """The name of its folder: what it is called, and 32 digits that tell it from others of that name."""
        return f"{self.title}-{hashlib.sha256(self.identity(only).encode()).hexdigest()[:32]}"

    def identity(self, only: tuple[str, ...] = ()) -> str:
        """What makes it one and the same thing to fetch: the torrent's hash, or the address, and the patterns of its files."""
        return "\n".join([self.hashes[0] if self.hashes else self.link, *only])


def parse(link: str) -> Source | None:
    """The source that `link` names, None for what is no link. Raises StoreError for a malformed one."""
    try:
        if link.lower().startswith("magnet:"):
            return _magnet(link)
        if link.lower().startswith(("http:", "https:")):
            return _address(link)
    except ValueError as error:
        raise StoreError(f"{link} is malformed ({error}); copy the whole of it, in quotes") from None
    if link.endswith(".torrent") and Path(link).is_file():
        return Source("torrent", link, clean(Path(link).stem))
    return None


def _magnet(link: str) -> Source:
    asked = parse_qs(urlsplit(link).query)
    topics = [match[1].lower() for topic in asked.get("xt", []) if (match := _TOPIC.fullmatch(topic))]
    hashes = tuple(sorted({_hex(topic) for topic in topics}, key=len))
    # Programs differ in which of several they take, so that one checked here need not be the one fetched.
    others = [key for key in asked if key != "xt" and key.partition(".")[0].strip().lower() == "xt"]
    if "#" in link or others or len({len(digits) for digits in hashes}) < len(hashes):
        raise StoreError(
            "the magnet link names its torrent in more than one way; get one with a single xt of a kind and without #"
        )
    if not topics:
        raise StoreError(
            "the magnet link names no torrent (xt=urn:btih:... or xt=urn:btmh:1220...); copy the whole of it, in quotes"
        )
    title = asked.get("dn", ["release"])[0]
    mirrors = tuple(f"{seed.rstrip('/')}/{quote(title)}/" for seed in asked.get("ws", []))
    return Source("magnet", link, clean(title), hashes, mirrors=mirrors)


def _hex(topic: str) -> str:
    kind, digits = topic.split(":")
    if kind == "btmh":
        return digits.removeprefix("1220")
    return digits if len(digits) == 40 else base64.b32decode(digits.upper()).hex()


def _address(link: str) -> Source:
    address, fragment = urldefrag(link)
    parts = urlsplit(address)
    if not parts.hostname or parts.port == 0:
        raise StoreError(f"{link} names no server; write it as https://server/folder/")
    last = unquote(parts.path.rstrip("/").rsplit("/", 1)[-1])
    if fragment and not _DIGEST.fullmatch(fragment):
        raise StoreError(f"#{fragment} is no hash; write #sha256= and 64 hexadecimal digits, or leave it out")
    if last.endswith(PICKLES):
        raise StoreError(f"{last} is a pickle, which can run code and is refused; name a repository or release with safetensors")
    algorithm, _, digest = fragment.partition("=")
    stated = Stated(algorithm, digest) if digest else UNKNOWN
    if last.endswith(".torrent"):
        return Source("torrent", address, clean(last.removesuffix(".torrent")), stated=stated)
    if last.endswith(".tar"):
        return Source("tar", address, clean(last.removesuffix(".tar")), stated=stated)
    if last.endswith(_FILES):
        return Source("file", address, clean(Path(last).stem), stated=stated)
    if parts.query or last.endswith((".zip", ".gz", ".tgz", ".html")):
        raise StoreError(f"{link} is no release: give a folder with manifest.json, a .torrent, .tar, .gguf or .safetensors")
    if fragment:
        raise StoreError(f"#{fragment} is for a single file, and {address} is a folder; name its signer with --signed-by instead")
    folder = address.removesuffix("manifest.json").rstrip("/") + "/"
    return Source("folder", folder, clean(last if last != "manifest.json" else folder.rstrip("/").rsplit("/", 1)[-1]))


def clean(name: str) -> str:
    """`name` as the harmless beginning of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:60] or "release"
