"""The published models as their makers launched them: one magnet link and the tars (FACTS 3.7), by variant name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mistral7b.checkpoint.aside import PTH
from mistral7b.errors import StoreError
from mistral7b.release.http import UNKNOWN, Stated
from mistral7b.release.inspect import LAUNCH
from mistral7b.release.sources import Source, parse
from mistral7b.variants import VARIANTS

if TYPE_CHECKING:
    from mistral7b.checkpoint.convert import Progress

Channel = Literal["torrent", "tar"]

MAGNET = f"magnet:?xt=urn:btih:{LAUNCH}&dn=mistral-7B-v0.1&tr=udp%3A%2F%2Ftracker.opentrackr.org%3A1337"

_CDN = "https://models.mistralcdn.com"
# Where, and the md5 its makers stated; None where none was seen.
TARS: dict[str, tuple[str, str | None]] = {
    "v0.1": (f"{_CDN}/mistral-7b-v0-1/mistral-7B-v0.1.tar", "37dab53973db2d56b2da0a033a15307f"),
    "v0.1-instruct": ("https://files.mistral-7b-v0-1.mistral.ai/mistral-7B-instruct-v0.1b.tar", None),
    "v0.2": (f"{_CDN}/mistral-7b-v0-2/mistral-7B-v0.2.tar", None),
    "v0.2-instruct": (f"{_CDN}/mistral-7b-v0-2/Mistral-7B-v0.2-Instruct.tar", "fbae55bc038f12f010b4251326e73d39"),
    "v0.3": (f"{_CDN}/mistral-7b-v0-3/mistral-7B-v0.3.tar", "0663b293810d7571dad25dae2f2a5806"),
    "v0.3-instruct": (f"{_CDN}/mistral-7b-v0-3/mistral-7B-Instruct-v0.3.tar", "80b71fcb6416085bcb4efad86dfb4d52"),
}


def launched(variant: str, channel: Channel) -> Source:
    """The source of a published model by `channel`. Raises StoreError for a torrent that there never was."""
    if channel == "torrent":
        if variant != "v0.1":
            raise StoreError(f"{variant} was not launched as a torrent, only v0.1 was; take --source tar or hub")
        found = parse(MAGNET)
        assert found is not None
        return Source(found.kind, found.link, found.title, found.hashes, variant=variant)
    address, md5 = TARS[variant]
    stated = UNKNOWN if md5 is None else Stated("md5", md5)
    return Source("tar", address, Path(address).stem, stated=stated, variant=variant)


def find(name: str, channel: Channel | None = None) -> Source | None:
    """What `name`, a link, a .torrent or a published model, leads to; None for what the hub has, or another room knows.

    A published model comes by `channel`; with None only one that the hub does not have is ours. Raises StoreError for a malformed
    link, and for a channel that it never came by.
    """
    variant = VARIANTS.get(name.lower())
    if variant is not None and (channel is not None or variant.hub_id is None):
        return launched(variant.name, channel or "tar")
    if channel is not None:
        raise StoreError(f"--source {channel} is for published models, {', '.join(VARIANTS)}; leave it out for {name}")
    source = parse(name)
    return None if source is None else recognise(source)


def recognise(source: Source) -> Source:
    """`source`, with what is known of it if it is one of these, however it was named; a hash that came with it stays."""
    if LAUNCH in source.hashes:
        return replace(source, variant="v0.1")
    variant = next((name for name, (address, _) in TARS.items() if address == source.link), None)
    if variant is None:
        return source
    known = launched(variant, "tar")
    return known if source.stated.digest is None else replace(known, stated=source.stated)


def is_launch(source: Source) -> bool:
    """Whether its .pth may come in: the launch torrent by its hash, or a published model's own tar by its address."""
    return recognise(source).variant is not None


def rewrite(pickled: Path, made: Path, progress: Progress | None = None) -> None:
    """The folder `pickled`, with its consolidated.00.pth, as the new folder `made` with safetensors, bit for bit.

    Only torch's weights-only reader opens the .pth. Raises CheckpointError for one that holds anything but the model's tensors.
    """
    from mistral7b.checkpoint.convert import convert

    assert (pickled / PTH).is_file()
    convert(pickled, made, to="consolidated", progress=progress)
