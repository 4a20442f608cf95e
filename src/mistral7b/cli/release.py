"""`release`: a model as a signed folder, a torrent and a magnet link."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mistral7b.cli import options
from mistral7b.cli.help import examples
from mistral7b.cli.opening import find_model
from mistral7b.cli.terminal import GIGABYTE, emit, note, paint, plain, progress, table
from mistral7b.errors import ReleaseError, RequestError

if TYPE_CHECKING:
    from mistral7b.release.candidate import Candidate
    from mistral7b.release.make import Release

EXAMPLES = examples(
    "mistral7b release ./my-model --out ./published --licence Apache-2.0",
    "mistral7b release ./my-model --out ./published --key ~/my.key --tracker udp://tracker.example:1337/announce",
    "mistral7b release ./my-model --out ./published --dry-run",
)
_STATED, _REACH = "What it states", "How it is found"
_BLACK, _WHITE = "30", "107"  # the terminal's own black, on its brightest white


def release(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The model's folder; tiny, or a hub id, will do too.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to make.")],
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="Sign with this Ed25519 key (PEM); default: your own, made once.")
    ] = None,
    new_key: Annotated[
        Path | None, typer.Option("--new-key", metavar="FILE", help="Sign with a fresh key, and keep it in this new file.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Its name; default: the folder's.", rich_help_panel=_STATED)
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", metavar="NAME", help="Such as Apache-2.0; default: what its README.md states at the head.",
                     rich_help_panel=_STATED),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option("--base-model", metavar="NAME", help="What it was made from; default: what its training recorded.",
                     rich_help_panel=_STATED),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option("--date", metavar="DATE", help="When, such as 2023-09-27; default: SOURCE_DATE_EPOCH, or now.",
                     rich_help_panel=_STATED),
    ] = None,
    tracker: Annotated[
        list[str] | None,
        typer.Option("--tracker", metavar="URL", help="Announce to it; may be given several times.", rich_help_panel=_REACH),
    ] = None,
    web_seed: Annotated[
        list[str] | None,
        typer.Option("--web-seed", metavar="URL", help="A web folder that holds the folder NAME; several times.",
                     rich_help_panel=_REACH),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option("--peer", metavar="IP:PORT", help="Name a peer in the magnet link; several times.", rich_help_panel=_REACH),
    ] = None,
    dht_node: Annotated[
        list[str] | None,
        typer.Option("--dht-node", metavar="HOST:PORT", help="Name a way into the DHT in the torrent; several times.",
                     rich_help_panel=_REACH),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Found through its trackers and peers alone.", rich_help_panel=_REACH)
    ] = False,
    piece_size: Annotated[
        str | None,
        typer.Option("--piece-size", metavar="SIZE", help="32K to 64M; default: by the size of the model.",
                     rich_help_panel=_REACH),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and write nothing.")] = False,
    as_json: options.Json = False,
) -> None:  # fmt: skip
    """Make a model ready to publish.

    Checks it as verify does, then makes DIR: the folder NAME to seed, with a signed manifest and a model card; NAME.torrent,
    for old and new clients; the magnet link, its QR code, the public key, and a page on how to fetch. The same model, key, date
    and options give the same link. Large files are links to FOLDER's where the disk allows it: edit neither afterwards.
    """
    if key is not None and new_key is not None:
        raise RequestError("--key signs with a key that is there and --new-key makes one; give one of them")
    from mistral7b.release.candidate import candidate_of
    from mistral7b.release.facts import facts_of
    from mistral7b.release.home import find_key_file
    from mistral7b.release.keys import new_key_file, read_key, refuse_key_file
    from mistral7b.release.make import make_release, refuse_target
    from mistral7b.release.reach import Reach
    from mistral7b.release.torrent import parse_piece_size

    refuse_target(out)
    own = find_key_file()
    if key is None and new_key is None:
        key, new_key = (own, None) if own.exists() else (None, own)
    elif new_key is not None:
        refuse_key_file(new_key)
    signer = None if key is None else read_key(key)
    pieces = None if piece_size is None else parse_piece_size(piece_size)
    reach = Reach(trackers=tuple(tracker or ()), web_seeds=tuple(web_seed or ()), peers=tuple(peer or ()),
                  nodes=tuple(dht_node or ()), private=private)  # fmt: skip
    path = find_model(folder)
    facts = facts_of(path, os.environ, name=name, licence=licence, base_model=base_model, date=date)
    with progress("reading", at_least=GIGABYTE) as shown:

        def at(stage: str, done: int, total: int) -> None:
            shown(done, total, stage)

        model = candidate_of(path, facts, at)
        made = None
        if not dry_run:
            if new_key is not None:
                if new_key == own:
                    own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    note(f"signing with a fresh key, {own}; keep a copy: who loses it cannot sign as the same again")
                signer = new_key_file(new_key)
            assert signer is not None
            made = make_release(model, out, signer, reach=reach, piece_size=pieces, progress=at)
    _tell(made or model, as_json=as_json)
    if made is not None and not as_json:
        print(f"\n{made.torrent.magnet}\n")
        _show_code(made.torrent.magnet)


def _tell(made: Candidate | Release, *, as_json: bool) -> None:
    """One object, or a note for whatever is worth a look and a table."""
    if as_json:
        emit(made.to_json())
        return
    for line in made.notes:
        note(line)
    table([[(label, "dim"), (value, "")] for label, value in made.rows()])


def _show_code(link: str) -> None:
    """Black on white where the terminal has colours; else as a terminal of light text on dark shows it right."""
    from mistral7b.release.qr import blocks

    try:
        "█▀▄".encode(sys.stdout.encoding or "ascii")
        lines = blocks(link, dark_on_light=not plain(sys.stdout))
    except (UnicodeEncodeError, ReleaseError):
        return  # the link stands there, and a picture of it beside the torrent if it fits into one
    for line in lines:
        print(paint(line, _BLACK, _WHITE, stream=sys.stdout))
